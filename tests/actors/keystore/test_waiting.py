"""Requests that wait: for what SAEs may have, for the peer, for its word, for bits.

Whatever changes meanwhile counts: none has keys that it would not be given if it came now.
"""

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from types import MappingProxyType

import pytest

from actors.keystore.options import StorePlan
from actors.keystore.own_store import OwnStore
from actors.protocol import blocks, grants, intent, keys
from actors.protocol.common import Drain, Failed
from actors.protocol.intent import Application, Policy
from actors.protocol.peers import Located, PeerDown
from actors.protocol.rights import OPEN, AskRights, Entitled, Rights, Rule
from protokms.testing.probe import Probe
from tests.kit.pair import SAES, Pair
from transport.envelope import Envelope
from transport.message import Message, Secret

RATE = 1_024
ID = bytes(range(1, 13))
GET = keys.GetKey(master="alice", slaves=("bob",), number=1, size=32)
PREPARE = keys.Prepare(
    grant=ID, master="alice", slaves=("bob",), number=1, size=32, octets=Secret(bytes(32))
)
DENIED = replace(OPEN, rules=(Rule("guests", Policy(1, ("*",), ("bob",), allow=False)),))
NOT_PERMITTED = Failed(code="not_permitted", why="policy guests denies keys with SAE bob")


def limited(rate: int, id_: str = "1") -> Rights:
    """Return rights under which alice and bob have so many bit/s at most."""
    entitled = Entitled(id_, Application("alice", ("bob",), max_bandwidth=rate))
    return replace(OPEN, entitled=MappingProxyType({("alice", "bob"): entitled}))


class Desk:
    """Asks the store at `a` by hand, and tells it what `intent` would."""

    def __init__(self, **options: object) -> None:
        self.pair = Pair(**options)  # type: ignore[arg-type]
        self.pair.fill(4)
        self.front = self.pair.cluster.probe("etsi014@a")

    def ask(self, body: Message) -> None:
        self.front.question(self.pair.at("a"), body)
        self.pair.cluster.settle()

    def told(self, rights: Rights) -> None:
        self.pair.cluster.tell(self.pair.at("a"), rights, sender=f"{intent.NAME}@a")

    def codes(self) -> list[str]:
        return [it.code if isinstance(it, Failed) else "" for it in self.front.received]

    def wait(self) -> float:
        """Return in how many seconds 4 s of the rate may be had: none of it is taken then."""
        ask = keys.AskTurn(master="alice", slaves=("bob",), octets=4 * RATE // 8)
        turn = self.pair.cluster.ask(self.pair.at("a"), ask)
        assert isinstance(turn, keys.Wait)
        return turn.seconds

    def queue(self, body: Message) -> None:
        """Let a request wait for bits: no lease is held, and the peer hears of none."""
        self.pair.lost.add(blocks.Lease)
        self.ask(body)
        assert len(self.store.allocation._asked) == 1
        assert not self.front.received

    def serve(self) -> None:
        """Let the lease be held that requests wait for."""
        self.pair.lost.clear()
        self.pair.cluster.advance(1.5)

    @property
    def store(self):  # type: ignore[no-untyped-def]
        return self.pair.store("a")


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.pair.cluster.close()


# Who waits for bits


@pytest.mark.parametrize("ask", [GET, PREPARE], ids=["keys", "pad"])
@pytest.mark.parametrize("mode", ["confirmed", "local"])
def test_who_waits_for_bits_gets_none_once_a_row_denies_them(mode: str, ask: Message) -> None:
    desk = Desk(mode=mode)
    desk.told(limited(RATE))
    stock, account = desk.store.stream.stock, desk.wait()
    desk.queue(ask)

    desk.told(replace(DENIED, entitled=limited(RATE).entitled))
    desk.serve()

    assert desk.front.received == [NOT_PERMITTED]
    assert (desk.store.stream.stock, desk.store.shares.reserved) == (stock, 0)
    assert desk.store.reserves._taken["alice", "bob"].octets == 0
    desk.told(limited(RATE))
    assert account == desk.wait() == 0.0
    desk.ask(ask)
    desk.pair.cluster.advance(1.0)
    assert desk.codes()[1:] == [""]


def test_who_waits_for_bits_gets_none_once_an_sae_has_moved(desk: Desk) -> None:
    desk.queue(GET)

    homes = dict(SAES) | {"bob": "c"}
    desk.pair.cluster.tell(desk.pair.at("a"), Located(serial=2, here="", homes=homes))
    desk.serve()

    assert desk.front.received == [Failed(code="not_allowed", why="not every SAE is at b")]
    assert not desk.pair.said(grants.GrantsAnnounced)


# What was taken of a rate


def test_what_was_taken_before_there_was_a_row_is_not_given_back_to_it(desk: Desk) -> None:
    desk.queue(GET)
    desk.told(limited(RATE))
    taken = keys.GetKey(master="alice", slaves=("bob",), number=16, size=32, within=60.0)
    desk.ask(taken)  # all that there is at once
    before = desk.wait()

    desk.store.allocation.new_epoch()  # nothing was given for either

    assert before == pytest.approx(4.0)
    assert desk.wait() == 0.0
    desk.told(OPEN)
    desk.ask(GET)
    desk.told(limited(RATE))
    desk.store.gate.take("alice", ("bob",), 4 * RATE // 8)
    desk.store.allocation.new_epoch()
    assert desk.wait() == pytest.approx(4.0)


def test_what_was_taken_of_one_row_is_not_given_back_to_the_next(desk: Desk) -> None:
    desk.told(limited(RATE, "1"))
    desk.queue(GET)
    desk.told(limited(RATE, "2"))
    desk.store.gate.take("alice", ("bob",), 4 * RATE // 8)

    desk.store.allocation.new_epoch()

    assert desk.wait() == pytest.approx(4.0)
    desk.told(limited(RATE, "1"))
    assert desk.wait() == 0.0


def test_a_status_of_a_pair_in_debt_says_that_it_may_have_nothing_now(desk: Desk) -> None:
    desk.told(limited(RATE))
    desk.store.gate.take("alice", ("bob",), RATE)

    status = keys.GetStatus(master="alice", slave="bob", size=32)
    told = desk.pair.cluster.ask(desk.pair.at("a"), status)

    assert isinstance(told, keys.Stock)
    assert told.stored == 0


def test_what_is_told_again_is_not_found_out_anew(desk: Desk) -> None:
    rows = limited(RATE)
    desk.told(rows)
    before = desk.store.gate.changes

    desk.told(rows)
    again = desk.store.gate.changes
    desk.told(limited(RATE))

    assert (again, desk.store.gate.changes) == (before, before + 1)


# Who waits to hear what SAEs may have


class Silent(Pair):
    """Stores that ask `intent`, of which nobody has heard yet."""

    def made(self, node: str) -> StorePlan:
        return replace(super().made(node), known=None)

    def answer(self, probe: Probe) -> None:
        """Tell everybody who has asked that all may have keys."""
        for asked in [it for it in probe.envelopes if isinstance(it.body, AskRights)]:
            sender, to = probe.address, asked.sender
            self.cluster.nodes["a"].send(Envelope(sender, to, OPEN, asked.token, True))
        self.cluster.settle()


@pytest.fixture
def silent() -> Iterator[Silent]:
    made = Silent(mode="confirmed")
    yield made
    made.cluster.close()


def befall(pair: Pair, what: str) -> None:
    """Let something happen to the store at `a` that keeps it from giving anything."""
    if what == "draining":
        pair.cluster.tell(pair.at("a"), Drain())
    elif what == "disk full":
        pair.cluster.fill_disk("a")
        pair.feed(sender="b")
        pair.cluster.advance(0.1)  # a row is to be written by now
    elif what == "peer away":
        pair.cluster.tell(pair.at("a"), PeerDown(peer="b"), sender="transport@a")
    else:
        pair.store("a").state.freeze()


@pytest.mark.parametrize("ask", [GET, PREPARE], ids=["keys", "pad"])
@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("draining", "not_ready"),
        ("disk full", "not_ready"),
        ("peer away", "peer_down"),
        ("frozen", "frozen"),
    ],
)
def test_who_has_waited_for_rights_hears_what_is_in_the_way_now(
    silent: Silent, what: str, code: str, ask: Message
) -> None:
    intent_, front = (silent.cluster.probe(at) for at in ("intent@a", "etsi014@a"))
    silent.fill(4)
    intent_.clear()
    silent.cluster.advance(2.2)  # it asks again
    front.question(silent.at("a"), ask)
    silent.cluster.settle()
    assert not front.received

    befall(silent, what)
    silent.answer(intent_)

    assert [it.code for it in front.received if isinstance(it, Failed)] == [code]
    assert silent.store("a").shares.reserved == 0


@pytest.mark.parametrize("ask", [GET, PREPARE], ids=["keys", "prepared"])
def test_the_own_store_gives_nothing_to_who_has_waited_while_its_node_stops(ask: Message) -> None:
    pair = Silent()
    intent_, front = (pair.cluster.probe(at) for at in ("intent@a", "etsi014@a"))
    pair.cluster.spawn("key_store/a@a", OwnStore, replace(pair.made("a"), peer="a"))
    pair.cluster.advance(1.0)
    front.question("key_store/a@a", ask)
    pair.cluster.settle()
    assert not front.received

    pair.cluster.tell("key_store/a@a", Drain())
    pair.answer(intent_)

    assert front.received == [Failed(code="not_ready", why="the node is stopping")]
    pair.cluster.close()


# Who waits for word of the peer


@pytest.mark.parametrize(
    ("what", "code"),
    [("draining", "not_ready"), ("peer away", "peer_down"), ("frozen", "frozen")],
)
def test_who_has_waited_for_word_hears_what_is_in_the_way_now(what: str, code: str) -> None:
    desk = Desk(mode="local")
    desk.store.limits.resumed()  # as after a resume: the peer has to say what it holds
    desk.pair.lost.add(grants.GrantsHeld)
    desk.ask(GET)
    assert not desk.front.received

    befall(desk.pair, what)
    desk.store.limits.tick(desk.store.clock)
    desk.pair.lost.clear()
    desk.pair.cluster.advance(1.0)  # the peer is asked again

    assert desk.codes() == [code]
    assert desk.store.shares.reserved == 0


# All of it, in any order


@pytest.mark.parametrize("mode", ["confirmed", "local"])
@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_nobody_has_keys_while_a_row_denies_them_and_all_are_answered(
    mode: str, seed: int
) -> None:
    desk, dice = Desk(mode=mode), Random(seed)
    rates = limited(RATE), limited(4 * RATE), limited(RATE, "2")
    denied, held, asked, grant = False, False, 0, 0
    allocation = desk.store.allocation
    serve = allocation.serve
    allocation.serve = lambda: None if held else serve()  # as while a lease is on its way
    for _ in range(100):
        before = desk.codes().count("")
        step = dice.randrange(8)
        if step < 3:
            grant += 1
            id_ = grant.to_bytes(len(ID), "big")
            number = dice.randrange(1, 33)
            get = replace(GET, number=number, within=dice.choice([0.2, 3.0]))
            octets = Secret(bytes(32 * number))
            give = replace(PREPARE, grant=id_, number=number, octets=octets)
            desk.ask(dice.choice([get, give]))
            asked += 1
        elif step == 3:
            held = dice.random() < 0.7
        elif step == 4:
            now = dice.choice(rates)
            denied = dice.random() < 0.5
            desk.told(replace(DENIED, entitled=now.entitled) if denied else now)
        elif step == 5:
            abort = keys.Abort(grant=dice.randrange(grant + 1).to_bytes(len(ID), "big"))
            desk.pair.cluster.tell(desk.pair.at("a"), abort)
        elif step == 6:
            desk.pair.fill(1)
        desk.pair.cluster.advance(dice.choice([0.0, 0.1, 0.6]))
        assert not denied or desk.codes().count("") == before
    held = False
    desk.pair.cluster.advance(10.0)

    assert len(desk.front.received) == asked
    assert {"", "not_permitted", "over_rate", "timeout"} <= set(desk.codes())
    assert (len(allocation._asked), allocation._prepares) == (0, {})
    assert desk.store.shares.reserved == 0
