"""An actor of another package in simulated nodes: its own words pass, and nothing else does."""

import pytest

from actors.base import Actor, System, handles
from actors.protocol import keys, peers
from actors.protocol.common import Failed, Health, Healthy
from actors.runtime.own import OwnActor, doors_with, tells
from examples.actor.kms_echo import Ask, Echo, Heard, Options, factory
from protokms.testing.kms import KmsNetwork
from transport.codec import Malformed
from transport.envelope import Address, Envelope
from transport.message import Message, wire

A, B = "kms-1", "kms-2"
ECHO = "own/echo"


@wire("test.unheard/1")
class Unheard(Message):
    """No actor of these hears it."""


@wire("test.picky/1")
class Picky(Message):
    """Its own check fails at the peer, with an error of its own kind."""

    number: int

    def __post_init__(self) -> None:
        if self.number in PICKED:
            raise PICKED[self.number]


PICKED: dict[int, BaseException] = {}


@wire("test.mapped/1")
class Mapped(Message):
    """Its field is of a type that no peer takes."""

    numbers: dict[str, int]


class Mapper(Actor):
    """Hears it."""

    @handles(Mapped)
    def hear(self, _: Mapped) -> None:
        """Never."""


class Bad(Actor):
    """Fails where it is told to."""

    def __init__(self, system: System, name: str, where: str) -> None:
        super().__init__(system, name)
        self._where = where
        self._at("made")

    def _at(self, where: str) -> None:
        if where == self._where:
            raise IndexError

    def started(self) -> None:
        """Start."""
        self._at("started")

    @handles(Health)
    def health(self, _: Health) -> Healthy:
        """Tell."""
        self._at("health")
        return Healthy(ready=True, reasons=(), facts=(), waits=())

    @handles(Picky)
    def picky(self, asked: Picky) -> Picky:
        """Answer."""
        return asked


class Curious(Actor):
    """Asks something that the peer does not take."""

    def __init__(self, system: System, name: str, to: str, word: Message) -> None:
        super().__init__(system, name)
        self._to, self._word = to, word
        self.got: list[Message] = []

    @handles(Heard)
    def hear(self, _: Heard) -> None:
        """Ask now."""
        self.ask(Address(self._to, B), self._word, self.got.append, 5.0)


def network(*, everywhere: bool = True) -> KmsNetwork:
    kms = KmsNetwork(f"{A}--{B}", own={"echo": factory(Options(peers=[B], every_s=1.0))})
    if not everywhere:
        kms.cluster.nodes[B].stop("guard/echo")
    kms.advance(3.0)
    return kms


def seen(kms: KmsNetwork, node: str = A) -> dict[str, str]:
    told = kms.cluster.ask(f"{ECHO}@{node}", Health())
    assert isinstance(told, Healthy)
    return dict(told.facts)


def test_an_actor_asks_and_answers_with_words_of_its_own() -> None:
    assert seen(network())[B].endswith(" ms")


def curious(to: str, word: Message, other: dict[str, OwnActor]) -> tuple[KmsNetwork, list[Message]]:
    """Let it ask; return what it hears in much less time than its time-out."""
    kms = KmsNetwork(f"{A}--{B}", own={**other, "curious": OwnActor(Curious, (to, word))})
    kms.advance(1.0)
    kms.cluster.tell(f"own/curious@{A}", Heard(number=1))
    kms.advance(0.5)
    asker = kms.cluster.actor(f"own/curious@{A}")
    assert isinstance(asker, Curious)
    return kms, asker.got


def test_a_word_that_the_peer_does_not_hear_is_refused_at_once() -> None:
    kms, got = curious(ECHO, Unheard(), {"echo": factory(Options())})

    assert got == [Failed(code="refused", why="shut_word")]
    assert kms.cluster.count(B, "protokms_frames_refused", reason="shut_word", peer=A) == 1


def test_a_word_whose_own_check_fails_is_refused_at_once_and_nobody_crashes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = Picky(number=7)
    monkeypatch.setitem(PICKED, 7, ZeroDivisionError())

    kms, got = curious("own/picky", asked, {"picky": OwnActor(Bad, ("",))})

    assert got == [Failed(code="refused", why="malformed")]
    assert kms.cluster.crashes == []


@pytest.mark.parametrize("where", ["made", "started", "health"])
def test_an_actor_that_fails_is_given_up_alone_and_keys_go_on(where: str) -> None:
    kms = KmsNetwork(f"{A}--{B}", own={"bad": OwnActor(Bad, (where,))}, tolerant=True)
    kms.advance(8.0)
    for _ in range(6):
        kms.cluster.tell(f"own/bad@{A}", Health())

    assert {str(crash.address).partition("@")[0] for crash in kms.cluster.crashes} <= {
        "own/bad",
        "guard/bad",
    }
    assert kms.cluster.crashes
    made = kms.enc("sae-1", "sae-2", wait=5.0)
    assert isinstance(made, keys.Keys)
    assert isinstance(kms.dec("sae-2", "sae-1", made.grant), keys.KeysWithIds)


def test_an_actor_that_is_away_is_told_at_once() -> None:
    assert seen(network(everywhere=False)) == {B: "undeliverable"}


@pytest.mark.parametrize(
    ("to", "body"),
    [
        (f"peer_manager@{B}", Ask(number=1)),
        (f"key_store/{A}@{B}", Ask(number=1)),
        (f"{ECHO}@{B}", Heard(number=1)),
        (f"{ECHO}@{B}", Failed(code="a", why="b")),
        (f"guard/echo@{B}", Ask(number=1)),
        (f"supervisor@{B}", Ask(number=1)),
    ],
)
def test_nothing_else_becomes_reachable(to: str, body: Message) -> None:
    kms = network()
    refused = kms.cluster.count(B, "protokms_frames_refused", peer=A)
    kms.cluster.probe(f"own/asker@{A}").question(to, body)
    kms.advance(0.5)

    assert kms.cluster.count(B, "protokms_frames_refused", peer=A) == refused + 1


def test_only_its_answers_answer_it() -> None:
    doors = doors_with({"echo": factory(Options())})
    said = Envelope(Address(ECHO, B), Address(ECHO, A), Heard(number=1), 5, answer=True)

    doors.check(said)
    doors.check(said._replace(body=Failed(code="refused", why="")))
    for other in (
        said._replace(body=Ask(number=1)),
        said._replace(to=Address("sessions", A)),
        said._replace(to=Address("own/other", A)),
    ):
        with pytest.raises(Malformed):
            doors.check(other)


class Thief(Actor):
    """Would hear a word of ours."""

    @handles(peers.Capabilities)
    def hear(self, _: peers.Capabilities) -> None:
        """Hear it."""


def test_a_word_of_ours_or_of_another_actor_is_not_to_be_had() -> None:
    with pytest.raises(ValueError, match="is a word of ours"):
        tells({"thief": OwnActor(Thief)})
    with pytest.raises(ValueError, match="is heard by own/one already"):
        tells({"one": OwnActor(Echo), "two": OwnActor(Echo)})
    with pytest.raises(ValueError, match="no wire word"):
        tells({"one": OwnActor(Echo, answers=(Health,))})
    for other in (OwnActor(Mapper), OwnActor(Echo, answers=(Mapped,))):
        with pytest.raises(ValueError, match=r"test\.mapped/1: .* does not travel"):
            tells({"one": other})


def test_peers_are_told_its_words() -> None:
    kms = network()

    me = kms.composition(A)._plan().me

    assert "echo.ask/1" in me.words
    assert "echo.heard/1" not in me.words
