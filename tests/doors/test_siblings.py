"""The door between processes of one node: whoever has the keys of an edge is an edge (R19)."""

import itertools
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

import etsi
from actors.protocol import common, keys, links, peers, sessions
from actors.protocol.roles import CORES, PAIRED, ROLES
from actors.protocol.trees import StopChild
from protokms.testing.kms import KmsNetwork
from tests.doors.mutate import damaged
from tests.doors.sibling import (
    CALLER,
    FRONT,
    LINKS,
    ME,
    PEER,
    Thief,
    drawn,
    local_words,
)
from tests.doors.tally import Tally
from transport.codec import Malformed, encode
from transport.envelope import Address, Envelope
from transport.message import Message
from transport.roles import Roles
from transport.sealing import ProcessSealer

DOOR = "siblings"
ETSI = Path(etsi.__file__).parent
SEED = 19
BURST = 4_000

PASSES = """
    etsi014       key_store     keys.GetKey keys.GetKeyWithIds keys.GetStatus keys.AskWait
    etsi014       key_store     keys.AskTurn keys.Written keys.Broken
    etsi014       multicast     keys.GetMulticast keys.AskTurn
    etsi014       sessions      sessions.EnsureSession
    etsi014       peer_manager  peers.Subscribe peers.GetHomes
    quantum_link  key_store     links.AskLink links.Emitted links.Received links.Withdrawn
    quantum_link  key_store     links.EmittedKeys
    key_store     quantum_link  links.LinkOpened links.LinkClosed links.Credit links.FetchKeys
    peer_manager  etsi014       peers.HomesChanged
    peer_manager  supervisor    trees.StartLink trees.StopLink
    edge          etsi014       common.Ping common.Health common.Drain peers.AwaitHomes
    edge          etsi015       common.Ping common.Health common.Drain
    edge          quantum_link  common.Ping common.Health common.Drain
    etsi014       alarms        alarms.Raised alarms.Ended
    etsi015       alarms        alarms.Raised alarms.Ended
    quantum_link  alarms        alarms.Raised alarms.Ended
    node          alarms        alarms.Raised alarms.Ended
    edge          node          reload.ReloadProcess siblings.AskProcess
    greeter       greeter       siblings.Hello
    etsi015       intent        intent.Read intent.ReadNodes intent.Write intent.Subscribe
    intent        etsi015       intent.Happened
    intent        quantum_link  common.Health
"""
"""Kind of sender, kind of reader, words: written down a second time, by hand."""

ANSWERS = """
    key_store     etsi014       keys.Keys keys.KeysWithIds keys.Stock keys.Wait common.failed/1
    multicast     etsi014       keys.Keys keys.Wait common.failed/1
    sessions      etsi014       sessions.SessionEnsured common.failed/1
    peer_manager  etsi014       peers.Homes common.failed/1
    supervisor    peer_manager  trees.Started trees.Stopped common.failed/1
    etsi014       edge          common.Pong common.Healthy common.Drained peers.HomesInUse
    etsi014       edge          common.failed/1
    etsi015       edge          common.Pong common.Healthy common.Drained common.failed/1
    quantum_link  edge          common.Pong common.Healthy common.Drained common.failed/1
    node          edge          reload.ProcessReloaded siblings.ProcessStatus common.failed/1
    greeter       greeter       siblings.Welcome common.failed/1
    quantum_link  intent        common.Healthy common.failed/1
    intent        etsi015       intent.Rows intent.Nodes intent.Written intent.Denied
    intent        etsi015       intent.Subscribed common.failed/1
"""

KINDS = (
    *("etsi014", "quantum_link", "key_store", "peer_manager", "sessions", "router", "relay"),
    *("multicast", "virtual_link", "peer", "supervisor", "edge", "post", "kms"),
    *("alarms", "node", "greeter", "intent", "etsi015"),
)
NEVER = {
    *("peers.Directory", "common.Died", "common.Committed", "common.TimedOut"),
    *("trees.StartChild", "trees.StopChild"),
}
APART = {"etsi014": FRONT, "etsi015": FRONT, "quantum_link": LINKS}


def placed(name: str) -> str:
    return APART.get(name.partition("/")[0], "core")


def rows(text: str) -> set[tuple[str, str, str]]:
    found = [line.split() for line in text.strip().splitlines()]
    return {(by, to, word) for by, to, *words in found for word in words}


def passes(sender: str, to: str, body: Message, *, answer: bool) -> bool:
    """Whether a frame passes that comes from the process where its sender lives."""
    envelope = Envelope(Address(sender, ME), Address(to, ME), body, 7, answer)
    try:
        Roles(ROLES, PAIRED, placed, CORES).check(placed(sender), envelope)
    except Malformed as no:
        return no.reason != "role"
    return True


@pytest.mark.parametrize(("text", "answer"), [(PASSES, False), (ANSWERS, True)])
def test_each_kind_says_to_each_what_the_table_says_and_no_other_word(
    text: str, answer: bool
) -> None:
    dice, found = random.Random(SEED), set()
    words = {**local_words(), "common.failed/1": common.Failed}
    bodies = {word: drawn(kind, dice) for word, kind in words.items()}

    for by, to in itertools.product(KINDS, KINDS):
        for word, body in bodies.items():
            if passes(f"{by}/{PEER}", f"{to}/{PEER}", body, answer=answer):
                found.add((by, to, word))

    assert found == rows(text)
    assert not {word for _, _, word in found} & NEVER


def test_a_front_end_may_say_all_that_its_code_says() -> None:
    """A word that is new in its code needs its row: apart from core it is refused otherwise."""
    code = "".join(file.read_text(encoding="utf-8") for file in ETSI.rglob("*.py"))
    names = set(re.findall(r"\b(keys|sessions|peers|alarms|links)\.([A-Z]\w*)\(", code))
    made = [getattr(import_module(f"actors.protocol.{room}"), name) for room, name in names]
    may = {word for by, _, word in rows(PASSES) if by == "etsi014"}
    its_own = {"keys.Stock", "peers.HomesInUse"}  # what it answers, or makes for itself

    said = {it.word for it in made if issubclass(it, Message)}

    assert {"keys.GetKey", "keys.AskWait", "peers.Subscribe"} <= said
    assert said - its_own <= may


def test_nobody_speaks_for_an_actor_of_another_process() -> None:
    roles = Roles(ROLES, PAIRED, placed, CORES)
    for by, to, word in rows(PASSES):
        body = drawn(local_words()[word], random.Random(SEED))
        sent = Envelope(Address(f"{by}/{PEER}", ME), Address(f"{to}/{PEER}", ME), body)
        for process in {"core", FRONT, LINKS, "stranger"} - {placed(by)}:
            with pytest.raises(Malformed, match="does not live in"):
                roles.check(process, sent)


@pytest.mark.parametrize("word", ["common.Drain", "common.Health", "reload.ReloadProcess"])
@pytest.mark.parametrize("to", ["etsi014", "quantum_link/kms-2", "node/core"])
def test_who_asks_for_core_is_heard_from_core_alone(to: str, word: str) -> None:
    body = drawn(local_words()[word], random.Random(SEED))
    sent = Envelope(Address("edge/front", ME), Address(to, ME), body, 7)
    roles = Roles(ROLES, PAIRED, lambda name: FRONT if name == "edge/front" else "core", CORES)

    with pytest.raises(Malformed):
        roles.check(FRONT, sent)


def test_a_link_fills_the_store_of_its_own_peer_alone() -> None:
    word = drawn(local_words()["links.AskLink"], random.Random(SEED))

    assert passes(f"quantum_link/{PEER}", f"key_store/{PEER}", word, answer=False)
    assert not passes(f"quantum_link/{PEER}", f"key_store/{ME}", word, answer=False)


@pytest.fixture(scope="module")
def thief(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Thief]:
    with Thief(tmp_path_factory.mktemp("siblings") / "lab") as made:
        yield made


FOREIGN = peers.Directory(
    serial=999,
    kmss=(
        peers.Kms(ME, "id-1", "tcp://127.0.0.1:1", "k" * 40, "s" * 44, ("sae-1", "sae-foreign")),
    ),
)

DRILL: list[tuple[str, Message]] = [
    ("peer_manager", FOREIGN),
    (f"key_store/{PEER}", common.Drain()),
    ("sessions", sessions.ListSessions()),
    (f"key_store/{PEER}", common.Health()),
    ("peer_manager", peers.RemoveQuantumPeer(peer=PEER)),
    (f"peer/{PEER}", common.Died(name=f"key_store/{PEER}", why="said by a thief")),
    (f"peer/{PEER}", StopChild(name=f"key_store/{PEER}")),
    (f"key_store/{PEER}", common.Committed(token=1)),
]


@pytest.mark.parametrize("sender", [CALLER, "etsi014", "edge/front", "edge/core", "supervisor"])
@pytest.mark.parametrize(("to", "body"), DRILL, ids=[body.word for _, body in DRILL])
def test_an_edge_is_refused_what_it_may_not_say(
    thief: Thief, sender: str, to: str, body: Message
) -> None:
    before = thief.refused()

    for _ in range(8):
        thief.tell(sender, to, body, token=5)

    assert thief.refused() == before + 8
    thief.fetches()
    thief.unharmed()


def test_an_edge_may_say_what_its_actors_need(thief: Thief) -> None:
    before = thief.refused()

    thief.fetches()

    assert thief.refused() == before


def frames(thief: Thief, dice: random.Random, n: int) -> Iterator[tuple[str, str, bytes]]:
    """Yield process, class and octets: true frames with drawn values, each damaged four times."""
    kinds = local_words()
    rows = [(by, to, word) for (by, to), words in ROLES.items() for word in words if by in APART]
    others = sorted(kinds)
    for number in range(n // 5):
        by, to, word = dice.choice(rows)
        peer = dice.choice((ME, PEER))
        reader = f"{to}/{peer}" if to == "key_store" else to
        sender = f"quantum_link/{peer}" if by == "quantum_link" else CALLER
        if number % 5 == 0:
            word = dice.choice(others)
        sent = Envelope(Address(sender, ME), Address(reader, ME), drawn(kinds[word], dice))
        sent = sent._replace(token=dice.choice((0, 1, 1 << 40)), answer=number % 7 == 0)
        process = placed(sender)
        try:
            octets = encode(sent, thief.sealers[process])
        except TypeError:  # that one does not travel
            octets = dice.randbytes(100)
        yield process, "drawn", octets
        for _ in range(4):
            yield process, "damaged", damaged(octets, dice)


def attack(thief: Thief, tally: Tally, n: int) -> None:
    for number, (process, kind, octets) in enumerate(frames(thief, random.Random(SEED), n)):
        thief.say(octets, process)
        tally.note(DOOR, kind, "read")
        if number % BURST == 0:
            thief.unharmed()  # and so all mail is read: none is dropped for a full mailbox
    thief.unharmed()
    thief.fetches()


def test_frames_of_a_sibling_kill_nothing(thief: Thief, tally: Tally) -> None:
    attack(thief, tally, 3_000)


@pytest.mark.slow
def test_many_frames_of_a_sibling_kill_nothing(thief: Thief, tally: Tally) -> None:
    attack(thief, tally, 100_000)


LIES: list[type[Message]] = [
    *(links.Emitted, links.EmittedKeys, links.Received, links.Withdrawn, links.AskLink)
]


def test_what_a_link_makes_up_in_the_right_epoch_costs_bits_and_nothing_else() -> None:
    kms, dice = KmsNetwork("kms-1--kms-2"), random.Random(SEED)
    ends = ((ME, PEER), (PEER, ME))
    kms.advance(3.0)

    for number in range(150):
        for here, there in ends:
            store = kms.cluster.actor(f"key_store/{there}@{here}")
            lie = drawn(dice.choice(LIES), dice)
            if not isinstance(lie, links.AskLink):
                lie = replace(lie, epoch=store.peer.state.datagram_epoch)  # type: ignore[attr-defined]
            kms.cluster.tell(f"key_store/{there}@{here}", lie, f"quantum_link/{there}@{here}")
        kms.advance(0.01 if number % 50 else 1.0)
    kms.advance(10.0)

    made = kms.enc("sae-1", "sae-2", wait=10.0)
    assert isinstance(made, keys.Keys), made
    fetched = kms.dec("sae-2", "sae-1", made.grant)
    assert isinstance(fetched, keys.KeysWithIds), fetched
    assert fetched.octets == (made.octets,)
    kms.cluster.close()


def test_nothing_is_heard_before_the_greeting_and_another_release_never(tmp_path: Path) -> None:
    with Thief(tmp_path / "lab") as stranger:
        stranger.node._news(f"{ME}/{FRONT}", up=False)
        name, peer = "protokms_frames_refused", f"{ME}/{FRONT}"

        stranger.node._news(f"{ME}/{FRONT}", up=True)
        stranger.tell(CALLER, f"key_store/{ME}", keys.GetStatus(master="a", slave="b", size=1))
        stranger.greet(FRONT, release="9.9.9")
        stranger.tell(CALLER, f"key_store/{ME}", keys.GetStatus(master="a", slave="b", size=1))
        stranger.greet(FRONT, sealer=ProcessSealer(bytes(32), FRONT, "core"))

        assert stranger.node.meter.value(name, peer=peer, reason="before_hello") == 2
        assert stranger.node.meter.value(name, peer=peer, reason="seal") == 1
        stranger.greet(FRONT)
        stranger.fetches()
