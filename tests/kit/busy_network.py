"""A router, a session manager and a relay at work, and what befalls them: rows of their events."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from actors.protocol import peers, relay, routes
from actors.protocol.peers import PeerDown, PeerUp
from actors.protocol.relay import SessionId
from actors.relay.relay import Relay
from tests.kit import mesh as meshes
from tests.kit.hops import OTHER, Hops
from tests.kit.mesh import RATE, STOCK, Mesh
from tests.kit.recorder import Record, recorded

SQUARE = "a-b b-c c-d a-d d-e"
Row = Callable[[Record, Mesh, str], None]

# Routers and sessions


@contextmanager
def mesh_of(record: Record, kind: str) -> Iterator[Mesh]:
    """Five nodes, sessions of `a` and across it, one that waits for a path; of `a` is recorded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meshes, kind, recorded(record, getattr(meshes, kind)))
        mesh = Mesh(SQUARE)
        mesh.advance(20.0)
        mesh.add("a", "c", n=2)
        mesh.add("a", "e", n=2)  # there is one path only
        mesh.add("b", "d", n=2)
        mesh.add("c", "a")
        mesh.advance(20.0)
        record.on = True
        yield mesh


def start(_: Record, mesh: Mesh, name: str) -> None:
    """And what a start brings with it."""
    mesh.cluster.restart("a")
    mesh.advance(0.5)


def network_changed(record: Record, mesh: Mesh, name: str) -> None:
    """Another directory, without one node; a link less, then back, its neighbour up again."""
    directory = mesh.directory
    kmss = tuple(kms for kms in directory.kmss if kms.name != "e")
    less = peers.Directory(serial=2, kmss=kmss), PeerDown(peer="d"), peers.Linked(peers=("b",))
    for word in (*less, directory, PeerUp(peer="d"), peers.Linked(peers=("b", "d"))):
        mesh.cluster.tell(f"{name}@a", word, sender="peer_manager@a")


def peer_down(record: Record, mesh: Mesh, name: str) -> None:
    mesh.cluster.tell(f"{name}@a", PeerDown(peer="d"), sender="peer_manager@a")


def peer_up(record: Record, mesh: Mesh, name: str) -> None:
    """It was away; then the link is of use again."""
    record.on = False
    mesh.cluster.cut("a", "d")
    mesh.advance(5.0)
    record.on = True
    mesh.cluster.tell(f"{name}@a", PeerUp(peer="d"), sender="peer_manager@a")
    news = routes.LinkLevel(peer="d", stock=STOCK, rate=RATE, ready=True)
    mesh.cluster.tell(f"{name}@a", news, sender="key_store/d@a")
    mesh.advance(1.0)


def level(record: Record, mesh: Mesh, name: str) -> None:
    """Of a link that is of no use any more, and then is again."""
    for ready in (False, True):
        news = routes.LinkLevel(peer="d", stock=STOCK, rate=RATE, ready=ready)
        sender = "key_store/d@a" if name == "router" else "router@a"
        mesh.cluster.tell(f"{name}@a", news, sender=sender)


def tick(record: Record, mesh: Mesh, name: str) -> None:
    """With all that is due from time to time: the clock has gone on by more than a minute."""
    record.on = False
    mesh.cluster.jump("a", 70.0)
    record.on = True
    mesh.advance(1.0)


# A relay


class RecordedHops(Hops):
    """Of which the relay from `a` to `b` is recorded."""

    def __init__(self, record: Record) -> None:
        self.record = record
        super().__init__("abc")

    def spawn(self, node: str, neighbour: str) -> None:
        kind = recorded(self.record, Relay) if neighbour == "b" else Relay
        self.cluster.spawn(f"relay/{neighbour}@{node}", kind, neighbour)


def hops(record: Record) -> RecordedHops:
    """Frames on the wire, chunks that wait for pads, others held back; two sessions."""
    made = RecordedHops(record)
    made.open()
    made.open(OTHER)
    made.lost = {relay.Carried, relay.NotCarried}
    made.send(1, 2)
    made.send(1, session=OTHER)
    made.stores["key_store/b@a"].dry = True
    made.send(*range(3, 60))
    record.on = True
    return made


def relay_start(record: Record) -> None:
    made = hops(record)
    made.cluster.nodes["a"].stop("relay/b")
    made.cluster.settle()
    made.spawn("a", "b")


def relay_peer_down_and_up(record: Record) -> None:
    made = hops(record)
    for news in (PeerDown(peer="b"), PeerUp(peer="b")):
        made.cluster.tell("relay/b@a", news, sender="transport@a")


def relay_lanes(record: Record) -> None:
    """Opened again, closed, and all forgotten."""
    made = hops(record)
    made.open(SessionId("a", 9), nodes="a")
    made.close("a", OTHER)
    made.cluster.tell("relay/b@a", relay.ForgetLanes(), sender="sessions@a")


def relay_tick(record: Record) -> None:
    """Frames are repeated."""
    made = hops(record)
    record.on = False
    made.cluster.jump("a", 2.0)
    record.on = True
    made.cluster.advance(0.5)


def relay_tick_when_all_is_late(record: Record) -> None:
    made = hops(record)
    record.on = False
    made.cluster.jump("a", 20.0)
    record.on = True
    made.cluster.advance(0.5)


def row(kind: str, name: str, what: Row) -> Callable[[Record], Any]:
    def run(record: Record) -> None:
        with mesh_of(record, kind) as mesh:
            what(record, mesh, name)

    return run


WHAT = (start, network_changed, peer_up, peer_down, level, tick)
RELAY = (relay_start, relay_peer_down_and_up, relay_lanes, relay_tick, relay_tick_when_all_is_late)
ROWS: dict[str, Callable[[Record], Any]] = {
    **{f"router_{what.__name__}": row("Router", "router", what) for what in WHAT},
    **{f"sessions_{what.__name__}": row("SessionManager", "sessions", what) for what in WHAT},
    **{what.__name__: what for what in RELAY},
}
