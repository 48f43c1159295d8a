"""One refresh an origin and link keeps all its sessions; lost, late and false ones do no harm."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.base import Row
from actors.crypto import signatures
from actors.crypto.signatures import Signer, refresh_text
from actors.protocol import sessions
from actors.protocol.relay import SessionId
from actors.protocol.sessions import Refresh, RefreshReply
from actors.sessions import refresh
from actors.sessions.sessions import SessionManager
from actors.sessions.terms import begins
from tests.kit.mesh import Lanes, Mesh, chain, key_of
from tests.networks.test_sessions import established, mesh_of, whole
from tests.networks.test_sessions_liars import PATH, signed
from tests.networks.test_sessions_liars import Row as Liars
from transport.codec import decode

STAR = " ".join(["a-h", "h-k", *(f"k-b{n}" for n in range(6))])
NAME = (77).to_bytes(8, "big") + b"\0"
HEARD = RefreshReply(lost=b"", serial=0, signature=b"")


def words(mesh: Mesh) -> list[tuple[str, str, str]]:
    """Collect sender, reader and name of every word from now on."""
    seen: list[tuple[str, str, str]] = []

    def watch(what: str, sender: str, to: str, octets: bytes) -> None:
        if what == "posted":
            seen.append((sender, to, decode(octets, sender).body.word))

    mesh.cluster.net.watchers.append(watch)
    return seen


def refreshed(serial: int, signer: str = "n1", **changes: Any) -> Refresh:
    """What the second node would say to the third of sessions of the first."""
    origin = changes.get("origin", "n1")
    signature = Signer(key_of(signer)).sign(refresh_text(origin, serial))
    word = Refresh(origin=origin, serial=serial, signature=signature, lanes=NAME)
    return replace(word, **changes)


class Row4(Liars):
    """A chain of four with a session of the first over the second, a liar."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        assert self.hear(signed()).established

    def say(self, word: Refresh, sender: str = "") -> Any:  # type: ignore[override]
        """Say it to the third node, and return what it answers at once."""
        who = self.cluster.probe(f"sessions@{sender}") if sender else self.liar
        token = who.question("sessions@n3", word)
        self.advance(0.1)
        found = [it.body for it in who.envelopes if it.answer and it.token == token]
        return found[0] if found else None

    def expires_in(self) -> float:
        """Return how long the share still stands at the third node."""
        manager = self.actor("sessions@n3", SessionManager)
        (state,) = list(manager.hops)
        return state.expires - self.cluster.now


@pytest.fixture
def row() -> Row4:
    return Row4()


def test_six_sessions_over_a_link_take_one_word_and_one_signature(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mesh = mesh_of(STAR)
    for n in range(6):
        mesh.add("a", f"b{n}")
    seen, looks = words(mesh), list[bytes]()

    def noted(public: str, text: bytes, signature: bytes) -> bool:
        looks.append(text)
        return signatures.verifies(public, text, signature)

    monkeypatch.setattr(refresh, "verifies", noted)
    mesh.advance(10.0)

    said = Counter(each for each in seen if each[2].startswith("sessions."))
    assert {(a, b): n for (a, b, word), n in said.items() if word == Refresh.wire} == {
        ("a", "h"): 2,
        ("h", "k"): 2,
        **{("k", f"b{n}"): 2 for n in range(6)},
    }
    assert not [each for each in said if "key_transport" in each[2]]
    assert len(looks) == 2 * 8  # one an origin, node and refresh
    assert all(established(mesh, "a", f"b{n}") for n in range(6))


def test_sessions_stand_as_long_as_they_are_refreshed() -> None:
    mesh = mesh_of(chain(5))
    mesh.add("n1", "n5")
    before = mesh.lanes("virtual_link/n1@n5")

    mesh.advance(120.0)

    assert whole(mesh, ("n1", "n2", "n3", "n4", "n5"))
    assert mesh.lanes("virtual_link/n1@n5") == before


@pytest.mark.parametrize("old", ["n1", "n2", "n3", "n4"])
def test_over_a_node_of_the_version_before_each_is_refreshed_by_itself(old: str) -> None:
    mesh = mesh_of(chain(4), old=[old])
    mesh.add("n1", "n4")
    before = mesh.lanes("virtual_link/n1@n4")
    seen = words(mesh)

    mesh.advance(60.0)

    said = {word for _, _, word in seen if word.startswith("sessions.")}
    assert sessions.KeyTransportSessionReply.wire in said
    if old != "n1":  # what a node does not name itself, it may hear
        assert Refresh.wire not in said
        assert (old, sessions.KeyTransportSession2.wire) not in {(it[1], it[2]) for it in seen}
    assert mesh.lanes("virtual_link/n1@n4") == before
    assert whole(mesh, PATH)


# Lost, doubled, late


def test_three_unanswered_in_a_row_end_what_they_name() -> None:
    mesh = mesh_of(chain(4))
    mesh.add("n1", "n4")
    mesh.cluster.worsen("n3", "n2", loss=1.0, one_way=True)

    mesh.advance(12.0)
    stood = established(mesh, "n1", "n4")
    mesh.advance(10.0)

    assert stood
    assert not established(mesh, "n1", "n4")
    assert mesh.cluster.count("n1", "protokms_session_reroutes", reason="no_route") >= 1


def test_two_unanswered_end_nothing() -> None:
    mesh = mesh_of(chain(4))
    mesh.add("n1", "n4")
    before = mesh.lanes("virtual_link/n1@n4")
    for _ in range(4):
        mesh.cluster.worsen("n3", "n2", loss=1.0, one_way=True)
        mesh.advance(10.0)
        mesh.cluster.worsen("n3", "n2", loss=0.0, one_way=True)
        mesh.advance(6.0)

    assert mesh.lanes("virtual_link/n1@n4") == before


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 8), st.floats(0.0, 4.0)), max_size=12))
def test_words_in_any_order_prolong_only_what_is_new(said: list[tuple[int, float]]) -> None:
    row, newest, left = Row4(), 0, 15.0
    row.advance(-row.cluster.now % 1.0)
    left = row.expires_in()
    for n, wait in said:
        row.advance(wait)
        left -= wait
        if left <= 0.5:
            break
        answer = row.say(refreshed(100 + n))
        left -= 0.1
        if n >= newest:
            newest, left = n, 15.0 - 0.1
            assert answer == HEARD
        else:
            assert answer == RefreshReply(
                lost=b"", serial=100 + newest, signature=refreshed(100 + newest).signature
            )
        assert row.expires_in() == pytest.approx(left, abs=0.01)


# Lies


def lies() -> Iterator[Refresh]:
    yield refreshed(9, "n2")  # forged in the name of the first node
    yield replace(refreshed(9), serial=10)
    yield replace(refreshed(9), signature=b"")
    yield replace(refreshed(9), signature=bytes(64))
    yield refreshed(0)
    yield refreshed(-1)
    yield refreshed(1 << 63)
    yield refreshed(9, lanes=NAME[:-1])
    yield refreshed(9, lanes=NAME * (sessions.NAMES_MAX + 1))
    yield refreshed(9, origin="n9")
    yield refreshed(9, "n3", origin="n3")  # of ourselves


@pytest.mark.parametrize("lie", [*lies()], ids=range(11))
def test_a_lie_prolongs_nothing_and_is_not_answered(row: Row4, lie: Refresh) -> None:
    row.advance(5.0)
    left = row.expires_in()

    assert row.say(lie) is None
    assert row.expires_in() == pytest.approx(left - 0.1)
    assert row.cluster.count("n3", "protokms_sessions_refused", peer="n2", reason="refresh") == 1


def test_a_lie_does_not_stand_in_the_way_of_the_truth(row: Row4) -> None:
    row.say(refreshed(1 << 40, "n2"))

    assert row.say(refreshed(9)) == HEARD


def test_a_replay_prolongs_nothing(row: Row4) -> None:
    old = refreshed(9)
    row.say(old)
    newer = refreshed(10, lanes=b"")
    assert row.say(newer) == HEARD
    row.advance(5.0)
    left = row.expires_in()

    assert row.say(old) == RefreshReply(lost=b"", serial=10, signature=newer.signature)
    assert row.expires_in() == pytest.approx(left - 0.1)


def test_nobody_but_the_node_before_refreshes_a_share(row: Row4) -> None:
    row.advance(5.0)
    left = row.expires_in()

    assert row.say(refreshed(9), sender="n4") == replace(HEARD, lost=NAME)
    assert row.say(refreshed(9), sender="n1") is None  # no neighbour
    assert row.expires_in() == pytest.approx(left - 0.2)


def test_what_is_not_known_is_told_and_opens_nothing(row: Row4) -> None:
    other = (78).to_bytes(8, "big") + b"\0"

    assert row.say(refreshed(9, lanes=other + NAME)) == replace(HEARD, lost=other)
    assert len(row.lanes("relay/n4@n3")) == 1


def test_what_is_being_set_up_is_not_lost(row: Row4) -> None:
    row.cluster.probe("sessions@n4")  # hears, and answers nothing
    row.liar.question("sessions@n3", signed(session=SessionId("n1", 78)))
    row.advance(0.1)

    named = (78).to_bytes(8, "big") + b"\0"
    assert row.say(refreshed(9, lanes=named)) == HEARD


def test_a_refresh_cannot_outlive_its_origin(row: Row4) -> None:
    last = refreshed(9)
    row.say(last)
    for _ in range(5):
        row.advance(4.0)
        row.say(replace(last, serial=10))

    assert not row.open()


def test_a_liar_that_calls_our_sessions_lost_only_has_them_set_up_anew() -> None:
    mesh = mesh_of(chain(4))
    mesh.add("n1", "n4")
    (lane,) = mesh.lanes("virtual_link/n4@n1")
    liar = mesh.cluster.probe("sessions@n2")
    named = lane.session.number.to_bytes(8, "big") + b"\0"
    liar.on(Refresh, RefreshReply(lost=named, serial=1 << 62, signature=bytes(64)))

    mesh.advance(6.0)

    assert mesh.cluster.count("n1", "protokms_session_reroutes", reason="no_route") == 1
    manager = mesh.actor("sessions@n1", SessionManager)
    assert manager.serials.next() < 2 << 32


# An origin that was restored from a backup


def test_an_origin_restored_from_a_backup_is_heard_again() -> None:
    mesh = mesh_of(chain(4))
    copy = mesh.cluster.backup("n1")
    for _ in range(3):
        mesh.cluster.restart("n1")
        mesh.advance(7.0)
    mesh.add("n1", "n4")
    mesh.advance(11.0)
    newest = serial_of(mesh)

    mesh.cluster.restore("n1", copy)
    mesh.advance(7.0)
    mesh.add("n1", "n4")
    mesh.advance(16.0)

    assert serial_of(mesh) > newest
    before = mesh.lanes("virtual_link/n1@n4")
    mesh.advance(40.0)
    assert established(mesh, "n1", "n4")
    assert mesh.lanes("virtual_link/n1@n4") == before
    (row,) = [it for it in mesh.cluster.rows("n1", "sessions") if it.kind == "start"]
    assert isinstance(row, Row)


def serial_of(mesh: Mesh) -> int:
    return mesh.actor("sessions@n1", SessionManager).serials.next()


# Which end begins


def test_of_two_names_exactly_one_begins_and_each_about_half() -> None:
    names = [f"n{n:03}" for n in range(200)]
    begun = Counter(one for one in names for two in names if one != two and begins(one, two))

    assert all(begins(one, two) != begins(two, one) for one in names[:9] for two in names[9:])
    assert min(begun.values()) > 70
    assert max(begun.values()) < 130


@pytest.mark.parametrize("old", ["", "n2"])
@pytest.mark.parametrize("ends", [("n1", "n4"), ("n1", "n5"), ("n2", "n5"), ("n3", "n5")])
def test_when_saes_at_both_ends_ask_one_session_stands(ends: tuple[str, str], old: str) -> None:
    mesh = mesh_of(chain(5), old=[old])
    one, two = ends
    for here, there in (ends, (two, one)):
        probe = mesh.cluster.probe(f"saes@{here}")
        probe.question(f"sessions@{here}", sessions.EnsureSession(peer=there, sae="s"))

    mesh.advance(30.0)

    opened = {here: bool(begins_here(mesh, here, there)) for here, there in (ends, (two, one))}
    crosses_old = old and one <= old <= two
    first = one if crosses_old or begins(one, two) else two
    assert opened == {one: first == one, two: first == two}
    assert established(mesh, one, two)
    assert established(mesh, two, one)


def begins_here(mesh: Mesh, here: str, there: str) -> list[Any]:
    lanes = mesh.actor(f"virtual_link/{there}@{here}", Lanes).open.values()
    return [it for it in lanes if it.hop == 0]


def test_who_gives_way_takes_over_when_the_other_end_stops() -> None:
    mesh = mesh_of(chain(4))
    for here, there in (("n1", "n4"), ("n4", "n1")):
        ask = sessions.EnsureSession(peer=there, sae="s")
        mesh.cluster.probe(f"saes@{here}").question(f"sessions@{here}", ask)
    mesh.advance(10.0)
    first = "n1" if begins("n1", "n4") else "n4"
    other = "n4" if first == "n1" else "n1"

    mesh.cluster.tell(f"sessions@{first}", sessions.RemoveSession(destination=other))
    mesh.advance(10.0)

    assert begins_here(mesh, other, first)
    assert not begins_here(mesh, first, other)
