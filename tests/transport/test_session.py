from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from transport.codec import MAX_FRAME, Question, encode
from transport.envelope import Address, Envelope
from transport.message import Message, Secret, local, wire
from transport.roles import Roles
from transport.sealing import ProcessSealer
from transport.session import (
    LOG_EVERY,
    SOURCES_TOLD,
    Beat,
    Doorman,
    Doors,
    Refusals,
    Session,
    beat_of,
)

HELLO, HEARD, UP, GONE, IDLE = Beat
STATES = [HELLO, HEARD, UP]


@wire("test.said/1")
class Said(Message):
    text: str


@wire("test.told/1")
class Told(Message):
    text: str


@wire("test.answered/1")
class Answered(Message):
    text: str


@wire("test.unlisted/1")
class Unlisted(Message):
    text: str


@local
class Inside(Message):
    secret: Secret


class Counter:
    def __init__(self) -> None:
        self.counted: list[tuple[str, str, str]] = []

    def add(self, name: str, n: float = 1, **labels: str) -> None:
        self.counted.append((name, labels["peer"], labels["reason"]))

    def set(self, name: str, value: float, **labels: str) -> None:
        raise AssertionError


def session_in(state: Beat) -> Session:
    session = Session(1.0)
    session.hear(HELLO, 0.0)
    if state is UP:
        session.hear(HEARD, 0.0)
    elif state is HELLO:
        session.tick(10.0)
    assert session.state is state
    return session


# Liveness


@pytest.mark.parametrize(
    ("before", "heard", "after"),
    [
        (HELLO, HELLO, HEARD),
        (HELLO, HEARD, UP),
        (HELLO, UP, HELLO),
        (HELLO, GONE, HELLO),
        (HELLO, IDLE, HELLO),
        (HEARD, HELLO, HEARD),
        (HEARD, HEARD, UP),
        (HEARD, UP, UP),
        (HEARD, GONE, HELLO),
        (HEARD, IDLE, HELLO),
        (UP, HELLO, HEARD),
        (UP, HEARD, UP),
        (UP, UP, UP),
        (UP, GONE, HELLO),
        (UP, IDLE, HELLO),
    ],
)
def test_a_session_turns_as_the_table_says(before: Beat, heard: Beat, after: Beat) -> None:
    session = session_in(before)

    changed = session.hear(heard, 20.0)

    assert session.state is after
    assert changed == (before is not after)


@pytest.mark.parametrize("before", [HEARD, UP])
def test_three_missed_heartbeats_are_down_and_no_fewer(before: Beat) -> None:
    session = session_in(before)

    assert not session.tick(3.0)
    assert session.tick(3.01)
    assert session.state is HELLO
    assert not session.tick(9.0)


@pytest.mark.parametrize("one", STATES)
@pytest.mark.parametrize("other", STATES)
def test_two_ends_that_hear_each_other_are_soon_up(one: Beat, other: Beat) -> None:
    here, there = session_in(one), session_in(other)

    for second in range(20, 24):
        there.hear(here.state, second)
        here.hear(there.state, second)

    assert here.up
    assert there.up


@given(st.sampled_from(STATES), st.sampled_from(STATES))
def test_ends_of_which_only_one_hears_are_both_down(one: Beat, other: Beat) -> None:
    deaf, hearing = session_in(one), session_in(other)

    for second in range(20, 30):
        hearing.hear(deaf.state, second)
        hearing.tick(second)
        deaf.tick(second)

    assert not deaf.up
    assert not hearing.up


def test_a_new_life_of_a_peer_is_noticed_though_no_heartbeat_is_missed() -> None:
    here, fresh = session_in(UP), Session(1.0)

    assert here.hear(fresh.state, 0.1)
    assert not here.up
    fresh.hear(here.state, 0.1)
    here.hear(fresh.state, 0.1)
    assert here.up
    assert fresh.up


@pytest.mark.parametrize("beat", Beat)
def test_a_heartbeat_is_one_octet_and_no_envelope(beat: Beat) -> None:
    assert beat_of(beat.value) is beat
    assert beat_of(beat.value * 2) is None
    assert not isinstance(msgpack.unpackb(beat.value), list)


@pytest.mark.parametrize("octets", [b"", b"\x05", b"\x97", b"\xff", b"\x00\x00"])
def test_other_octets_are_no_heartbeat(octets: bytes) -> None:
    assert beat_of(octets) is None


# Doors

ME = "kms-1"
DOORS = Doors(
    {"test.said/1": "key_store/{peer}", "test.told/1": "peer_manager"}, {"test.answered/1"}
)
KEY = bytes(32)
HERE, FRONT = ProcessSealer(KEY, "core", "front"), ProcessSealer(KEY, "front", "core")


INSIDE = "test_session.Inside"
ROLES = Roles(
    {
        ("etsi014", "key_store"): {INSIDE: ("test.answered/1",)},
        ("quantum_link", "key_store"): {INSIDE: ()},
        ("edge", "etsi014"): {INSIDE: (INSIDE,)},
    },
    {("quantum_link", "key_store")},
    lambda name: "front" if name.partition("/")[0] in ("etsi014", "quantum_link") else "core",
)


def doorman(counter: Counter | None = None) -> Doorman:
    return Doorman(ME, DOORS, {"front": HERE}, Refusals(counter or Counter()), ROLES)


def said(body: Message, to: str, *, answer: bool = False, sender: str = "any") -> Envelope:
    return Envelope(Address(sender, "kms-2"), Address.parse(to), body, 9, answer, "t")


@pytest.mark.parametrize(
    "envelope",
    [
        said(Said(text="a"), "key_store/kms-2@kms-1"),
        said(Told(text="a"), "peer_manager@kms-1"),
        said(Answered(text="a"), "peer_manager@kms-1", answer=True),
        said(Answered(text="a"), "key_store/kms-2@kms-1", answer=True),
    ],
)
def test_a_peer_is_heard_where_a_door_is_open(envelope: Envelope) -> None:
    assert doorman().admit("kms-2", "core", encode(envelope)) == envelope


REFUSED = [
    ("other_actor", said(Said(text="a"), "key_store/kms-3@kms-1")),
    ("other_actor", said(Said(text="a"), "peer_manager@kms-1")),
    ("other_actor", said(Told(text="a"), "supervisor@kms-1")),
    ("other_actor", said(Answered(text="a"), "supervisor@kms-1", answer=True)),
    ("other_actor", said(Answered(text="a"), "key_store/kms-3@kms-1", answer=True)),
    ("other_node", said(Told(text="a"), "peer_manager@kms-2")),
    ("other_node", said(Told(text="a"), "peer_manager@kms-3")),
    ("shut_word", said(Unlisted(text="a"), "peer_manager@kms-1")),
    ("shut_word", said(Answered(text="a"), "peer_manager@kms-1")),
    ("no_answer", said(Told(text="a"), "peer_manager@kms-1", answer=True)),
    ("no_answer", said(Unlisted(text="a"), "peer_manager@kms-1", answer=True)),
]


@pytest.mark.parametrize(("reason", "envelope"), REFUSED)
def test_a_peer_is_refused_elsewhere_and_counted(reason: str, envelope: Envelope) -> None:
    counter = Counter()

    assert doorman(counter).admit("kms-2", "core", encode(envelope)) is None
    assert counter.counted == [("protokms_frames_refused", "kms-2", reason)]


@pytest.mark.parametrize(
    ("reason", "octets"),
    [
        ("malformed", b""),
        ("malformed", b"\xff noise"),
        ("oversized", b"\x97" * (MAX_FRAME + 1)),
        ("unknown_word", msgpack.packb(["a", "b@kms-1", 0, False, "", "test.never/1", []])),
        ("local_word", msgpack.packb(["a", "b@kms-1", 0, False, "", "test_session.Inside", []])),
    ],
)
def test_what_is_no_envelope_is_refused_and_counted(reason: str, octets: bytes) -> None:
    counter = Counter()

    assert doorman(counter).admit("kms-2", "core", octets) is None
    assert counter.counted == [("protokms_frames_refused", "kms-2", reason)]


@pytest.mark.parametrize(
    ("reason", "envelope"), [it for it in REFUSED if not it[1].answer and it[0] != "other_node"]
)
def test_a_question_that_is_refused_is_told_with_who_asked(reason: str, envelope: Envelope) -> None:
    told: list[tuple[Question, str]] = []
    made = Doorman(
        ME, DOORS, {}, Refusals(Counter()), declined=lambda asked, why: told.append((asked, why))
    )

    made.admit("kms-2", "core", encode(envelope))
    made.admit("kms-2", "core", encode(envelope._replace(token=0)))  # which is no question

    assert told == [(Question(envelope.sender, envelope.to, 9, "t"), reason)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (["a", "b@kms-1", 9, False, "t", "test.never/1", []], "unknown_word"),
        (["a", "b@kms-1", 9, False, "t", "test_session.Inside", []], "local_word"),
        (["a", "b@kms-1", 9, False, "t", "test.said/1", [1, 2, 3]], "malformed"),
        (["a", "b@kms-1", 9, True, "t", "test.never/1", []], ""),
        (["a", "b@kms-2", 9, False, "t", "test.never/1", []], ""),
        (["a", "no address", 9, False, "t", "test.never/1", []], ""),
        ([" ", "b@kms-1", 9, False, "t", "test.never/1", []], ""),
        (["a", "b@kms-1", 9, False, "t" * 99, "test.never/1", []], ""),
    ],
)
def test_a_question_that_cannot_be_read_is_told_if_it_says_who_asks_whom(
    row: list[object], reason: str
) -> None:
    told: list[tuple[Question, str]] = []
    made = Doorman(
        ME, DOORS, {}, Refusals(Counter()), declined=lambda asked, why: told.append((asked, why))
    )

    assert made.admit("kms-2", "core", msgpack.packb(row)) is None

    asked = Question(Address("a", "kms-2"), Address("b", ME), 9, "t")
    assert told == ([(asked, reason)] if reason else [])


SECRET = Inside(secret=Secret(b"octets"))


def among(sender: str, to: str, body: Message = SECRET, *, answer: bool = False) -> Envelope:
    return Envelope(Address(sender, ME), Address(to, ME), body, 1, answer)


@pytest.mark.parametrize(
    "sent",
    [
        among("etsi014", "key_store/kms-2"),
        among("etsi014/http", "key_store/kms-2"),
        among("quantum_link/kms-2", "key_store/kms-2"),
        among("etsi014", "edge/core", answer=True),
    ],
)
def test_another_process_of_the_node_may_say_what_its_actors_may(sent: Envelope) -> None:
    assert doorman().admit(ME, "front", encode(sent, FRONT)) == sent


@pytest.mark.parametrize(
    "sent",
    [
        among("router", "key_store/kms-2"),  # who does not live there
        among("key_store/kms-2", "quantum_link/kms-2"),
        among("edge/core", "etsi014"),
        among("etsi014", "supervisor"),  # whom it does not talk to
        among("etsi014", "key_store/kms-2", Told(text="a")),  # what it does not say
        among("etsi014", "key_store/kms-2", answer=True),  # what it was not asked
        among("etsi014/http", "edge/core", Answered(text="a"), answer=True),
        among("quantum_link/kms-2", "key_store/kms-3"),  # a store that is not its own
    ],
)
def test_another_process_of_the_node_may_say_nothing_else(sent: Envelope) -> None:
    counter = Counter()

    with capture_logs() as logs:
        assert doorman(counter).admit(ME, "front", encode(sent, FRONT)) is None

    assert counter.counted == [("protokms_frames_refused", f"{ME}/front", "role")]
    assert [line["reason"] for line in logs] == ["role"]


def test_without_roles_no_other_process_is_heard() -> None:
    counter = Counter()
    made = Doorman(ME, DOORS, {"front": HERE}, Refusals(counter))

    assert made.admit(ME, "front", encode(among("etsi014", "key_store/kms-2"), FRONT)) is None
    assert counter.counted == [("protokms_frames_refused", f"{ME}/front", "role")]


def test_another_process_of_the_node_does_not_speak_for_other_nodes() -> None:
    counter = Counter()
    sent = Envelope(Address("a", ME), Address("b", "kms-2"), Inside(secret=Secret(b"o")))

    assert doorman(counter).admit(ME, "front", encode(sent, FRONT)) is None
    assert counter.counted == [("protokms_frames_refused", f"{ME}/front", "other_node")]


def test_a_process_that_has_no_sealer_is_a_stranger() -> None:
    counter = Counter()
    sent = Envelope(Address("a", ME), Address("b", ME), Inside(secret=Secret(b"o")))

    assert doorman(counter).admit(ME, "link", encode(sent, FRONT)) is None
    assert counter.counted == [("protokms_frames_refused", ME, "stranger")]


def test_a_peer_cannot_pass_for_a_process_of_the_node() -> None:
    counter = Counter()
    sent = Envelope(Address("a", ME), Address("b", ME), Inside(secret=Secret(b"o")))

    assert doorman(counter).admit("kms-2", "front", encode(sent, FRONT)) is None
    assert counter.counted[0][2] in {"local_word", "malformed"}


@given(st.binary(max_size=100), st.sampled_from([ME, "kms-2"]))
def test_no_octets_make_the_doorman_stumble(octets: bytes, node: str) -> None:
    assert doorman().admit(node, "front", octets) is None


# What is said about refusals


def clock_of(times: list[float]) -> Callable[[], float]:
    return lambda: times[0]


def test_refusals_are_counted_each_and_logged_once_per_peer_and_minute() -> None:
    counter, times = Counter(), [100.0]
    told: list[tuple[str, str]] = []
    refusals = Refusals(counter, clock_of(times), lambda *line: told.append(line))

    with capture_logs() as logs:
        for peer in ("kms-2", "kms-2", "kms-3", "kms-2"):
            refusals.note(peer, "malformed", "because")
        times[0] += LOG_EVERY
        refusals.note("kms-2", "oversized")

    lines: list[tuple[Any, Any]] = [(line["peer"], line["reason"]) for line in logs]
    assert lines == [("kms-2", "malformed"), ("kms-3", "malformed"), ("kms-2", "oversized")]
    assert told == [
        ("kms-2", "malformed: because"),
        ("kms-3", "malformed: because"),
        ("kms-2", "oversized"),
    ]
    assert len(counter.counted) == 5


def test_each_source_behind_one_name_has_a_line_a_minute_up_to_a_limit() -> None:
    counter, times = Counter(), [100.0]
    refusals = Refusals(counter, clock_of(times))

    with capture_logs() as logs:
        for source in ("key-a", "key-b", "key-a", *map(str, range(50))):
            refusals.note("stranger", "unknown_key", source, source)
        first = [line["why"] for line in logs]
        times[0] += LOG_EVERY
        refusals.note("stranger", "unknown_key", "key-a", "key-a")

    assert first[:2] == ["key-a", "key-b"]
    assert len(first) == SOURCES_TOLD
    assert len(logs) == SOURCES_TOLD + 1
    assert len(counter.counted) == 54


def test_the_memory_of_refusals_is_bounded() -> None:
    refusals = Refusals(Counter(), clock_of([0.0]))

    with capture_logs():
        for number in range(3000):
            refusals.note(f"kms-{number}", "malformed")

    assert len(refusals._noted) <= 1024
