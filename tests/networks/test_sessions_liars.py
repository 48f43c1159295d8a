"""Sessions among peers that lie: nothing is carried, opened or closed in another's name."""

from dataclasses import replace
from typing import Any

import pytest

from actors.crypto.signatures import Signer, session_text
from actors.protocol import sessions
from actors.protocol.relay import SessionId
from actors.protocol.sessions import KeyTransportSession, KeyTransportSessionReply, SessionLost
from protokms.testing.probe import Probe
from tests.kit.mesh import Mesh, chain, key_of, ring

PATH = ("n1", "n2", "n3", "n4")
NO = KeyTransportSessionReply(established=False, code="not_allowed", node="n3")


def signed(signer: str = "n1", **changes: Any) -> KeyTransportSession:
    """What the second node would say to the third in a session of the first."""
    plain = KeyTransportSession(
        session=SessionId("n1", 77),
        share=0,
        shares=1,
        path=PATH,
        weight=1,
        serial=5,
        signature=b"",
        hop=2,
        wait=2.0,
    )
    changed = replace(plain, **changes)
    return replace(changed, signature=Signer(key_of(signer)).sign(session_text(changed)))


class Row(Mesh):
    """A chain of four whose second node is a liar."""

    def __init__(self, nodes: str = chain(4), **more: Any) -> None:
        super().__init__(nodes, **more)
        self.advance(7.0)
        self.liar: Probe = self.cluster.probe("sessions@n2")

    def hear(self, ask: KeyTransportSession, wait: float = 3.0) -> Any:
        """Say it to the third node as the second, and return what it answers."""
        self.liar.clear()
        token = self.liar.question("sessions@n3", ask)
        self.advance(wait)
        found = [it.body for it in self.liar.envelopes if it.answer and it.token == token]
        return found[0] if found else None

    def open(self) -> bool:
        """Tell whether anything crosses the third node."""
        return bool(self.lanes("relay/n2@n3") or self.lanes("relay/n4@n3"))


@pytest.fixture
def row() -> Row:
    return Row()


def test_a_true_request_is_granted(row: Row) -> None:
    answer = row.hear(signed())

    assert answer == KeyTransportSessionReply(established=True, code="", node="")
    assert row.open()
    assert row.has("virtual_link/n1@n4")


@pytest.mark.parametrize(
    "lie",
    [
        signed("n2"),  # forged in the name of the first node
        signed(session=SessionId("n2", 77)),  # signed by one, of another origin
        replace(signed(), path=("n1", "n2", "n3")),  # another path than was signed
        replace(signed(), weight=900),
        replace(signed(), serial=6),
        replace(signed(), share=1, shares=2),
        replace(signed(), session=SessionId("n1", 78)),
        replace(signed(), signature=b""),
        replace(signed(), signature=bytes(64)),
        signed(hop=1),  # not our place
        signed(hop=3),
        signed(hop=0),
        signed(hop=9),
        signed(hop=-2),
        signed(path=("n1", "n3", "n4"), hop=1),  # not the node before us
        signed(path=("n1", "n2", "n3", "n2", "n4")),
        signed(path=("n1",)),
        signed(path=()),
        signed(path=("n1", "n2", "n3", "n4", *(f"x{i}" for i in range(200)))),
        signed(share=1),
        signed(share=-1),
        signed(shares=99),
        signed(weight=0),
        signed(weight=1 << 40),
        signed(serial=0),
        signed(wait=0.0),
        signed(wait=-1.0),
    ],
)
def test_a_lie_is_refused_and_opens_nothing(row: Row, lie: KeyTransportSession) -> None:
    assert row.hear(lie) == NO
    assert not row.open()
    assert not row.has("key_store/n1@n4")
    assert row.cluster.count("n3", "protokms_sessions_refused", peer="n2") == 1


def test_a_path_over_strangers_is_refused(row: Row) -> None:
    answer = row.hear(signed(path=("n1", "n2", "n3", "n9")))

    assert answer == KeyTransportSessionReply(established=False, code="no_such_peer", node="n3")


def test_a_path_over_no_quantum_link_is_refused(row: Row) -> None:
    answer = row.hear(signed("n2", session=SessionId("n2", 5), path=("n2", "n3", "n1"), hop=1))

    assert answer == KeyTransportSessionReply(established=False, code="no_route", node="n3")


def test_a_node_without_a_common_link_asks_in_vain() -> None:
    row = Row()
    far = row.cluster.probe("sessions@n1")

    token = far.question("sessions@n3", signed(path=("n1", "n3", "n4"), hop=1))
    row.advance(1.0)

    no = KeyTransportSessionReply(established=False, code="no_route", node="n3")
    assert [it.body for it in far.envelopes if it.answer and it.token == token] == [no]


def test_a_replay_is_refused_and_prolongs_nothing(row: Row) -> None:
    ask = signed()
    row.hear(ask)

    for _ in range(10):
        assert row.hear(ask, wait=2.0) == NO

    assert not row.open()


def test_what_was_ended_cannot_be_replayed(row: Row) -> None:
    row.hear(signed())
    row.liar.say("sessions@n3", sessions.SessionEnded(session=SessionId("n1", 77), share=0))
    row.advance(1.0)
    assert not row.open()

    assert row.hear(signed(serial=6)) == NO
    assert not row.open()


def test_a_refresh_over_another_path_is_refused(row: Row) -> None:
    row.hear(signed())

    assert row.hear(signed(serial=9, path=("n1", "n2", "n3"))) == NO
    assert [it.path for it in row.lanes("relay/n4@n3")] == [PATH]


def test_nobody_but_the_node_before_ends_a_session(row: Row) -> None:
    row.hear(signed())
    ended = sessions.SessionEnded(session=SessionId("n1", 77), share=0)

    row.cluster.tell("sessions@n3", ended, sender="sessions@n4")
    row.cluster.tell("sessions@n4", ended, sender="sessions@n1")
    row.advance(1.0)

    assert row.open()
    assert row.lanes("virtual_link/n1@n4")


def test_nobody_but_the_node_after_says_that_a_session_is_lost(row: Row) -> None:
    row.hear(signed())
    lost = SessionLost(session=SessionId("n1", 77), share=0, code="no_route", node="n4")

    row.cluster.tell("sessions@n3", lost, sender="sessions@n1")
    row.cluster.tell("sessions@n3", lost, sender="sessions@n2")
    row.advance(1.0)

    assert row.open()
    assert row.liar.of(SessionLost) == []


def test_a_liar_on_the_path_can_blame_only_nodes_further_on() -> None:
    mesh = Mesh(ring(5))
    mesh.advance(7.0)
    mesh.add("n1", "n3")
    (lane,) = mesh.lanes("virtual_link/n3@n1")

    lost = SessionLost(session=lane.session, share=0, code="drop everything", node="n1")
    mesh.cluster.tell("sessions@n1", lost, sender="sessions@n2")
    mesh.advance(1.0)

    seen = mesh.seen("n1", "n3")
    assert seen.state == "established"
    assert seen.paths == (("n1", "n5", "n4", "n3"),)  # whoever lies is left aside


def test_a_liar_who_says_no_in_the_name_of_others_is_left_aside() -> None:
    row = Row(ring(5))
    refusal = KeyTransportSessionReply(established=False, code="nonsense", node="n1")
    row.liar.on(KeyTransportSession, refusal)

    row.add("n1", "n3", wait=10.0)
    row.advance(5.0)

    assert row.seen("n1", "n3").paths == (("n1", "n5", "n4", "n3"),)


def test_a_liar_who_never_answers_is_left_aside() -> None:
    row = Row(ring(5))

    row.add("n1", "n3", wait=10.0)
    row.advance(20.0)

    assert row.seen("n1", "n3").paths == (("n1", "n5", "n4", "n3"),)


def test_a_foreign_session_is_not_closed_by_who_knows_its_number() -> None:
    mesh = Mesh(chain(5))
    mesh.advance(7.0)
    mesh.add("n1", "n4")
    (lane,) = mesh.lanes("virtual_link/n4@n1")

    lost = SessionLost(session=lane.session, share=0, code="no_route", node="n3")
    mesh.cluster.tell("sessions@n3", lost, sender="sessions@n5")
    ended = sessions.SessionEnded(session=lane.session, share=0)
    mesh.cluster.tell("sessions@n3", ended, sender="sessions@n5")

    assert mesh.lanes("relay/n4@n3")


def test_who_asks_too_often_is_refused(row: Row) -> None:
    for number in range(1300):
        row.liar.say("sessions@n3", signed("n2", session=SessionId("n1", number)))
    row.cluster.settle()

    before = row.hear(signed(), wait=0.1)
    row.advance(5.0)

    assert before == NO
    assert row.hear(signed()).established


def test_one_origin_does_not_take_the_room_of_all_others() -> None:
    most = 64
    row = Row(relay={"max_lanes_per_origin": most})
    answers = [row.hear(signed(session=SessionId("n1", n)), 0.1) for n in range(most + 1)]

    mine = signed("n2", session=SessionId("n2", 1), path=PATH[1:], hop=1)
    other = row.hear(mine, 0.5)

    assert all(answer.established for answer in answers[:-1])
    assert answers[-1] == replace(NO, code="share_full")
    assert other.established


def test_words_about_sessions_nobody_knows_are_harmless(row: Row) -> None:
    nobody = SessionId("n4", 1)
    row.liar.say("sessions@n3", SessionLost(session=nobody, share=0, code="x", node="y"))
    row.liar.say("sessions@n3", sessions.SessionEnded(session=nobody, share=7))
    row.advance(1.0)

    assert not row.open()
