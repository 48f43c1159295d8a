"""What befalls router and session manager reaches their parts in the order that they list.

What leaves them at such an event is recorded beside `tests/rules/test_order_of_events.py`.
"""

from typing import Any

import pytest

from actors.network.lsdb import LinkStateDatabase
from actors.network.neighbours import Neighbours
from actors.network.originate import Originate
from actors.network.router import Router
from actors.protocol import peers, relay, routes, sessions
from actors.sessions.distant_stores import DistantStores
from actors.sessions.on_demand import OnDemand
from actors.sessions.origin import Origin
from actors.sessions.refresh import Refreshing
from actors.sessions.sessions import SessionManager
from actors.sessions.signalling import Signalling
from actors.sessions.transit import Transit
from tests.kit.mesh import Mesh, chain
from transport.message import Message

SETTLED_S = 7.0


@pytest.fixture
def mesh() -> Mesh:
    made = Mesh(chain(3))
    made.add("n1", "n3")
    made.advance(SETTLED_S)
    return made


class Record:
    """Notes which methods were called, and goes on with them."""

    def __init__(self, patch: pytest.MonkeyPatch, *methods: tuple[type, str]) -> None:
        self.calls: list[str] = []
        for kind, name in methods:
            patch.setattr(kind, name, self._noted(f"{kind.__name__}.{name}", getattr(kind, name)))

    def _noted(self, name: str, method: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            self.calls.append(name)
            return method(*args, **more)

        return call


def tell(mesh: Mesh, to: str, word: Message) -> None:
    mesh.cluster.tell(to, word, sender=to)
    mesh.cluster.settle()


SESSIONS = (
    (DistantStores, "found"),
    (DistantStores, "start_found"),
    (Neighbours, "subscribe"),
    (Transit, "network_changed"),
    (Transit, "peer_down"),
    (Transit, "expire"),
    (Signalling, "set_up_all"),
    (Origin, "loaded"),
    (Origin, "peer_up"),
    (Origin, "refresh"),
    (Origin, "reoptimize"),
    (OnDemand, "of_today"),
    (OnDemand, "look_for_idle"),
)


def session_manager(mesh: Mesh) -> SessionManager:
    return mesh.actor("sessions@n1", SessionManager)


def test_sessions_start(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Record(monkeypatch, *SESSIONS)

    session_manager(mesh).started()

    assert row.calls == [
        "DistantStores.found",
        "OnDemand.of_today",
        "Origin.loaded",
        "DistantStores.found",
        "Neighbours.subscribe",
    ]


def test_sessions_network_changed(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Record(monkeypatch, *SESSIONS)

    tell(mesh, "sessions@n1", peers.Linked(peers=("n2",)))

    assert row.calls == [
        "Transit.network_changed",
        "DistantStores.start_found",
        "Signalling.set_up_all",
    ]


def test_sessions_peer_up_and_down(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Record(monkeypatch, *SESSIONS)

    tell(mesh, "sessions@n1", peers.PeerDown(peer="n2"))
    tell(mesh, "sessions@n1", peers.PeerUp(peer="n2"))

    assert row.calls == ["Transit.peer_down", "Origin.peer_up"]


def test_sessions_level(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Record(monkeypatch, *SESSIONS)

    for ready in (True, False, True):
        tell(mesh, "sessions@n1", routes.LinkLevel(peer="n2", stock=1, rate=1.0, ready=ready))

    assert row.calls == ["Signalling.set_up_all"]


def test_sessions_tick(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Record(monkeypatch, *((kind, name) for kind, name in SESSIONS if kind is not Signalling))
    mine = session_manager(mesh)
    mine._refreshed_at = mine.system.now() - 100.0

    mesh.cluster.nodes["n2"].pause()
    mesh.cluster.nodes["n3"].pause()
    mesh.advance(1.0)

    assert row.calls == [
        "Transit.expire",
        "Origin.refresh",
        "OnDemand.look_for_idle",
        "Origin.reoptimize",
    ]


ROUTER = (
    (LinkStateDatabase, "set_origins"),
    (LinkStateDatabase, "age"),
    (LinkStateDatabase, "install"),
    (Router, "_compare"),
    (Router, "_flood"),
    (Router, "_tell_changes"),
    (Originate, "load"),
    (Originate, "if_changed"),
    (Originate, "if_old"),
    (Neighbours, "subscribe"),
)
LOOK = ["Router._tell_changes", "Originate.if_changed"]


def test_router_start(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Record(monkeypatch, *ROUTER)

    mesh.actor("router@n1", Router).started()

    assert row.calls == ["Originate.load", "Neighbours.subscribe"]


def test_router_network_changed(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    mesh.actor("router@n1", Router)._compared_with.clear()
    row = Record(monkeypatch, *ROUTER)

    known = mesh.directory.kmss[:2]
    mesh.actor("router@n1", Router).neighbours.on_directory(peers.Directory(serial=2, kmss=known))

    assert row.calls == ["LinkStateDatabase.set_origins", "Router._compare", *LOOK]


def test_router_peer_up_and_down(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Record(monkeypatch, *ROUTER)

    mesh.actor("router@n1", Router).neighbours.on_peer_down(peers.PeerDown(peer="n2"))
    mesh.actor("router@n1", Router).neighbours.on_peer_up(peers.PeerUp(peer="n2"))

    assert row.calls == [*LOOK, "Router._compare", *LOOK]


def test_router_tick(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    router = mesh.actor("router@n1", Router)
    router._compared_at = -100.0
    for node in ("n2", "n3"):
        mesh.cluster.nodes[node].pause()
    mesh.advance(0.1)
    row = Record(monkeypatch, *ROUTER)

    mesh.advance(1.0)

    assert row.calls[:4] == [
        "LinkStateDatabase.age",
        "Originate.if_old",
        "Router._compare",
        "Router._tell_changes",
    ]


def test_router_own_link_state_durable(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    for node in ("n2", "n3"):
        mesh.cluster.nodes[node].pause()
    mesh.advance(3.0)
    row = Record(monkeypatch, *ROUTER[2:3], *ROUTER[4:6], *ROUTER[7:8])

    mesh.say("n1", "n2", ready=False)
    mesh.advance(0.02)

    made = ["LinkStateDatabase.install", "Router._flood", *LOOK]
    at = row.calls.index("LinkStateDatabase.install")
    assert row.calls[at : at + 4] == made


def test_every_word_of_a_peer_has_one_part() -> None:
    handled = SessionManager.handled_by() | Router.handled_by()

    words = {kind: part for kind, part in handled.items() if kind.wire}

    assert words == {
        sessions.KeyTransportSession: Transit,
        sessions.KeyTransportSession2: Transit,
        sessions.Refresh: Refreshing,
        sessions.SessionLost: Transit,
        sessions.SessionEnded: Transit,
        routes.LinkStates: Router,
        routes.KnownStates: Router,
    }
    assert handled[relay.LaneBroken] is Transit
    assert handled[sessions.EnsureSession] is OnDemand
