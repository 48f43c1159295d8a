"""Where each SAE is at home, read in pieces: what was known holds until all of it is there."""

import pytest

from actors.base import Actor, System
from actors.protocol import peers
from actors.protocol.common import Failed
from etsi.gs014.places import ASK_S, Places, PlacesReader
from protokms.testing.cluster import Cluster
from protokms.testing.probe import Probe
from protokms.testing.steps import StepSystem
from transport.message import Message


class Front(Actor):
    """A front end without HTTP."""

    parts = (PlacesReader,)

    def __init__(self, system: System, name: str) -> None:
        super().__init__(system, name)
        self.found: list[Places] = []
        self.reader = PlacesReader(self, found=self.found.append)
        self.serve(self.reader)

    def started(self) -> None:
        self.reader.subscribe()


class Desk:
    """A front end, and a peer manager whose directory has one SAE a piece."""

    def __init__(self) -> None:
        self.cluster = Cluster("a", recipe)
        self.manager: Probe = self.cluster.probe("peer_manager@a")
        self.serial, self.saes = 1, ["sae-0", "sae-1", "sae-2"]
        self.lost = False
        self.manager.on(peers.Subscribe, lambda _: self.news())
        self.manager.on(peers.GetHomes, self.piece)

    def news(self) -> peers.HomesChanged:
        return peers.HomesChanged(serial=self.serial, here="a", pieces=len(self.saes))

    def piece(self, ask: peers.GetHomes) -> Message | None:
        if self.lost:
            return None
        if ask.serial != self.serial:
            return Failed(code="stale", why="")
        ids = (("a", "KME a"),) if ask.piece == 0 else ()
        return peers.Homes(ids=ids, saes=((self.saes[ask.piece], "a"),))

    @property
    def found(self) -> list[list[str]]:
        front = self.cluster.actor("etsi014@a")
        assert isinstance(front, Front)
        assert all(places.here == "a" and places.ids == {"a": "KME a"} for places in front.found)
        return [list(places.kms) for places in front.found]

    def asked(self) -> list[tuple[int, int]]:
        return [(ask.serial, ask.piece) for ask in self.manager.of(peers.GetHomes)]


def recipe(system: StepSystem) -> None:
    system.spawn("etsi014", Front)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_pieces_are_asked_for_one_at_a_time_and_told_together(desk: Desk) -> None:
    desk.lost = True
    desk.cluster.advance(1.0)
    one_at_a_time = desk.asked()
    desk.lost = False

    desk.cluster.advance(ASK_S + 1.0)

    assert one_at_a_time == [(1, 0)]
    assert desk.asked() == [(1, 0), (1, 0), (1, 1), (1, 2)]
    assert desk.found == [["sae-0", "sae-1", "sae-2"]]


def test_the_same_directory_is_read_once(desk: Desk) -> None:
    desk.cluster.advance(100.0)

    assert len(desk.manager.of(peers.Subscribe)) > 2
    assert len(desk.asked()) == 3


def test_reading_goes_on_where_an_answer_was_lost(desk: Desk) -> None:
    last = peers.GetHomes(serial=1, piece=2)
    desk.manager.on(peers.GetHomes, lambda ask: None if ask == last else desk.piece(ask))
    desk.cluster.advance(ASK_S)
    desk.manager.on(peers.GetHomes, desk.piece)

    desk.cluster.advance(ASK_S)

    assert desk.asked() == [(1, 0), (1, 1), (1, 2), (1, 2)]
    assert desk.found == [["sae-0", "sae-1", "sae-2"]]


def test_a_directory_that_changes_while_it_is_read_is_read_anew(desk: Desk) -> None:
    def change(ask: peers.GetHomes) -> Message | None:
        answer = desk.piece(ask)
        if ask == peers.GetHomes(serial=1, piece=1):
            desk.serial, desk.saes = 2, ["sae-7", "sae-8"]
            desk.manager.say("etsi014@a", desk.news())
        return answer

    desk.manager.on(peers.GetHomes, change)

    desk.cluster.advance(2.0)

    assert desk.asked() == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert desk.found == [["sae-7", "sae-8"]]


def test_nobody_but_the_peer_manager_is_heard(desk: Desk) -> None:
    desk.cluster.advance(1.0)
    other = desk.cluster.probe("multicast@a")

    other.say("etsi014@a", peers.HomesChanged(serial=9, here="a", pieces=1))
    desk.cluster.settle()

    assert desk.asked()[-1] == (1, 2)


def test_who_waits_for_a_directory_is_answered_once_all_of_it_is_in_use(desk: Desk) -> None:
    desk.lost = True
    desk.cluster.advance(1.0)
    asker = desk.cluster.probe("edge/core@a")
    for serial in (1, 2):
        asker.question("etsi014@a", peers.AwaitHomes(serial=serial))
    desk.cluster.settle()
    before = asker.received

    desk.lost = False
    desk.cluster.advance(ASK_S + 1.0)
    after_first = asker.received
    desk.serial, desk.saes = 3, ["sae-9"]
    desk.manager.say("etsi014@a", desk.news())
    desk.cluster.settle()

    assert before == []
    assert after_first == [peers.HomesInUse(serial=1)]
    assert asker.received == [*after_first, peers.HomesInUse(serial=3)]
