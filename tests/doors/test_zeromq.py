"""The door between nodes: strangers, and a neighbour with a key of its own who lies."""

import random
from collections.abc import Iterator

import msgpack
import pytest

from actors.protocol.doors import ANSWERS, DOORS
from tests.doors.liar import HOME, Liar, frame, lie
from tests.doors.tally import Tally
from tests.doors.town import FRIEND, LIAR, VICTIM, Town
from tests.processes.real_lab import eventually
from transport.message import Message

pytestmark = pytest.mark.slow

DOOR = "ZeroMQ"
SEED = 17_001
LIES, MUTANTS, FLOOD = 1_500, 1_500, 40_000
BATCH = 250


@pytest.fixture(scope="module")
def awake(nodes: Town) -> Iterator[Liar]:
    with Liar(nodes) as made:
        yield made


@pytest.fixture
def liar(town: Town, awake: Liar) -> Liar:
    """It goes on through all tests, and after each of them others are served."""
    assert awake.town is town
    return awake


def volley(liar: Liar, tally: Tally, kind: str, frames: list[bytes], to: str = VICTIM) -> float:
    """Send all, within what a peer may say in a time; return how many were refused."""
    first = liar.refused(to)
    for at in range(0, len(frames), BATCH):
        heard, refused = liar.heard(to), liar.refused(to)
        batch = frames[at : at + BATCH]
        for octets in batch:
            liar.say(octets, to)
        eventually(
            lambda heard=heard, batch=batch: liar.heard(to) - heard >= len(batch),  # type: ignore[misc]
            "all are heard",
        )
        no = int(liar.refused(to) - refused)
        tally.note(DOOR, kind, "refused", no)
        tally.note(DOOR, kind, "heard", len(batch) - no)
    return liar.refused(to) - first


def inner_words() -> list[str]:
    return sorted({kind.word for kind in kinds(Message) if not kind.wire})


def kinds(kind: type[Message]) -> Iterator[type[Message]]:
    for each in kind.__subclasses__():
        yield each
        yield from kinds(each)


def test_words_that_no_peer_says_are_refused(liar: Liar, tally: Tally) -> None:
    actors = ("key_store/kms-3", "key_store/kms-2", "peer_manager", "etsi014", "supervisor", "post")
    inside = [frame(word, [], f"{to}@{VICTIM}") for word in inner_words() for to in actors]
    unknown = [
        frame(word, [], HOME) for word in ("", "x", "keys.GetKey/1", "blocks.held/2", "a" * 9000)
    ]
    dice = random.Random(SEED)
    unasked = [
        frame(word, msgpack.unpackb(lie(liar, word, dice))[6], f"{to}@{VICTIM}", "x", token, True)
        for word in (*ANSWERS, *DOORS)
        for to in actors
        for token in (0, 1, 1 << 62)
    ]

    for kind, frames in (("local words", inside), ("unknown words", unknown)):
        assert volley(liar, tally, kind, frames) == len(frames)
    # Of the right form and to an actor that asks peers, it is heard, and nobody waits for it.
    askers = 2
    heard = len(unasked) - volley(liar, tally, "answers nobody asked for", unasked)
    assert heard == len(ANSWERS) * askers * 3


def test_words_for_others_are_refused_and_none_is_passed_on(liar: Liar, tally: Tally) -> None:
    dice = random.Random(SEED)
    homes = [f"key_store/{FRIEND}@{VICTIM}", f"key_store/{VICTIM}@{VICTIM}", f"etsi014@{VICTIM}"]
    away = [f"key_store/{VICTIM}@{FRIEND}", f"key_store/{LIAR}@{FRIEND}", f"peer_manager@{FRIEND}"]
    away += [f"key_store/{VICTIM}@{LIAR}", f"peer_manager@{LIAR}", "peer_manager@kms-9"]
    at_friend = liar.heard(FRIEND) + liar.refused(FRIEND)
    true = [(word, msgpack.unpackb(lie(liar, word, dice))[6]) for word in sorted(DOORS)]
    senders = (f"key_store/{FRIEND}", "peer_manager", f"key_store/{VICTIM}")

    for kind, places in (("words for other actors", homes), ("words for other nodes", away)):
        frames = [
            frame(word, values, to, sender)
            for word, values in true
            for to in places
            for sender in senders
        ]
        assert volley(liar, tally, kind, frames) == len(frames)

    assert liar.heard(FRIEND) + liar.refused(FRIEND) == at_friend  # nothing was laundered


def test_true_words_with_lies_in_them_harm_nobody_else(liar: Liar, tally: Tally) -> None:
    dice = random.Random(SEED + 1)
    names = sorted(DOORS)

    volley(liar, tally, "lies", [lie(liar, dice.choice(names), dice) for _ in range(LIES)])


def test_frames_that_are_none_are_refused(liar: Liar, tally: Tally) -> None:
    dice = random.Random(SEED + 2)
    names = sorted(DOORS)
    mutants = []
    for _ in range(MUTANTS):
        octets = bytearray(lie(liar, dice.choice(names), dice))
        for _ in range(dice.randint(1, 5)):
            at = dice.randrange(len(octets))
            octets[at : at + dice.choice((0, 1, 1, 9))] = dice.randbytes(dice.choice((0, 1, 1, 5)))
        mutants.append(bytes(octets)[: dice.choice((len(octets), 10_000))] or b"xx")
    noise = [dice.randbytes(dice.choice((2, 10, 100, 5_000))) for _ in range(500)]
    noise += [octet * 50_000 for octet in (b"\x91", b"\x81\xa1a", b"\xdd\xff\xff\xff\xff", b"\xc1")]
    heads = [
        frame("blocks.room/1", [], HOME, sender, token, answer, trace)
        for sender in ("", "a@b", "A", "a" * 65, 1, None)
        for token in (-1, 1 << 63, 1.0, True, None)
        for answer in (0, None)
        for trace in ("t" * 65, None)
    ]

    volley(liar, tally, "mutants of frames", mutants)
    assert volley(liar, tally, "noise", noise) == len(noise)
    assert volley(liar, tally, "heads of another form", heads) == len(heads)


def test_replays_of_words_change_nothing(liar: Liar, tally: Tally) -> None:
    dice = random.Random(SEED + 3)
    once = [lie(liar, word, dice) for word in sorted(DOORS)]

    volley(liar, tally, "replays", [octets for octets in once for _ in range(40)])


def test_a_flood_is_refused_and_others_are_served_meanwhile(liar: Liar, tally: Tally) -> None:
    dice = random.Random(SEED + 4)
    octets = [lie(liar, word, dice) for word in sorted(DOORS)]
    name = "protokms_frames_refused_total"
    before = liar.town.metric(VICTIM, name, peer=LIAR, reason="flood")

    for at in range(FLOOD):
        liar.say(octets[at % len(octets)])
        if at % 10_000 == 0:
            liar.town.unharmed()
    eventually(lambda: liar.town.metric(VICTIM, name, peer=LIAR, reason="flood") > before, "enough")

    tally.note(DOOR, "flood", "refused or dropped", FLOOD)
