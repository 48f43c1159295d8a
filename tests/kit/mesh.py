"""Routers and sessions of whole networks on a manual clock; stores and relays are stand-ins."""

import hashlib
from collections.abc import Collection
from typing import Any, TypeVar

from actors.base import Actor, System, handles
from actors.crypto.signatures import Signer
from actors.network.originate import RouterOptions
from actors.network.peer_manager import PeerManager, PeerPlan
from actors.network.router import Router
from actors.protocol import links, peers, relay, routes, sessions
from actors.protocol.doors import DOORS
from actors.protocol.relay import LaneClosed, LaneOpened, SessionId
from actors.protocol.sessions import SessionState
from actors.protocol.trees import Child
from actors.runtime.supervisor import Supervisor
from actors.sessions.options import SessionOptions, SessionPlan
from actors.sessions.sessions import SessionManager
from protokms.testing.cluster import Cluster
from protokms.testing.steps import StepSystem
from transport.envelope import Address
from transport.message import Message, Secret, local

A = TypeVar("A", bound=Actor)
STOCK, RATE = 1 << 20, 50e3
AGAIN_S = 5.0
TOGETHER = {sessions.KeyTransportSession2.wire, sessions.Refresh.wire}
"""Words that nodes of 0.2 and older do not know."""


@local
class Say(Message):
    """Let a stand-in of a store say how its link is."""

    stock: int
    rate: float
    ready: bool


@local
class Again(Message):
    """Time to say it again, for a router that has started anew."""


class Store(Actor):
    """Stands for the store of a neighbour: its link is as good as its peer is up."""

    def __init__(self, system: System, name: str, peer: str) -> None:
        super().__init__(system, name)
        self.peer = peer
        self.last: Say | None = None
        self.marks: list[links.Marks] = []
        self.least: list[int] = []
        self.used_at = 0.0

    def started(self) -> None:
        self.tell(Address("peer_manager", self.system.node), peers.Subscribe())
        self.remind(AGAIN_S, Again())

    @handles(peers.PeerUp)
    def up(self, _: peers.PeerUp) -> None:
        self.say(Say(stock=STOCK, rate=RATE, ready=True))

    @handles(peers.PeerDown)
    def down(self, _: peers.PeerDown) -> None:
        self.say(Say(stock=STOCK, rate=0.0, ready=False))

    @handles(Again)
    def again(self, _: Again) -> None:
        self.remind(AGAIN_S, Again())
        if self.last:
            self.say(self.last)

    @handles(Say)
    def say(self, what: Say) -> None:
        self.last = what
        level = routes.LinkLevel(peer=self.peer, stock=what.stock, rate=what.rate, ready=what.ready)
        self.tell(Address("router", self.system.node), level)

    @handles(links.Marks)
    def take_marks(self, marks: links.Marks) -> None:
        self.marks.append(marks)

    @handles(links.LeastPaths)
    def take_least(self, news: links.LeastPaths) -> None:
        self.least.append(news.n)

    @handles(links.AskUse)
    def tell_use(self, _: links.AskUse) -> links.Used:
        return links.Used(idle_s=self.system.now() - self.used_at)


class Distant(Store):
    """Stands for the store of a distant peer."""

    @handles(peers.PeerUp)
    def up(self, _: peers.PeerUp) -> None:
        """It has no quantum link to speak of."""

    @handles(peers.PeerDown)
    def down(self, _: peers.PeerDown) -> None:
        """Nor has it then."""


class Lanes(Actor):
    """Stands for a relay or a virtual link: keeps what it was told of lanes."""

    def __init__(self, system: System, name: str) -> None:
        super().__init__(system, name)
        self.open: dict[tuple[SessionId, int], LaneOpened] = {}
        self.heard: list[LaneOpened | LaneClosed] = []

    def started(self) -> None:
        self.tell(Address("sessions", self.system.node), relay.AskLanes())

    @handles(LaneOpened)
    def opened(self, news: LaneOpened) -> None:
        self.open[news.session, news.share] = news
        self.heard.append(news)

    @handles(relay.ForgetLanes)
    def forget(self, _: relay.ForgetLanes) -> None:
        self.open.clear()

    @handles(LaneClosed)
    def closed(self, news: LaneClosed) -> None:
        self.open.pop((news.session, news.share), None)
        self.heard.append(news)


def key_of(node: str) -> Secret:
    return Secret(hashlib.sha256(f"signing {node}".encode()).digest())


def give_up(name: str, why: str) -> None:
    raise AssertionError(f"{name}: {why}")


class Mesh:
    """A network of routers and sessions.

    `relay` are options of `SessionOptions`; `relay_at` those of single nodes. Nodes that are `old`
    say that they know none of the words that take all shares over a link together.
    """

    def __init__(
        self,
        nodes: str,
        *,
        relay: dict[str, Any] | None = None,
        relay_at: dict[str, dict[str, Any]] | None = None,
        old: Collection[str] = (),
        **more: Any,
    ) -> None:
        self.cluster = Cluster(nodes, **more)
        self.options, self.options_at, self.old = relay or {}, relay_at or {}, old
        names = list(self.cluster.nodes)
        self.directory = peers.Directory(
            serial=1,
            kmss=tuple(
                peers.Kms(name, f"id-{name}", "tcp://x", "z", Signer(key_of(name)).public, ())
                for name in names
            ),
        )
        self.cluster.recipe = self.recipe
        for system in self.cluster.nodes.values():
            self.recipe(system)
        self.cluster.settle()

    # What tests do

    def advance(self, seconds: float) -> None:
        self.cluster.advance(seconds)

    def say(self, node: str, peer: str, *, stock: int = STOCK, ready: bool = True) -> None:
        """Let the store of a neighbour say how its link is."""
        rate = RATE if stock else 0.0
        self.cluster.tell(f"key_store/{peer}@{node}", Say(stock=stock, rate=rate, ready=ready))

    def route(self, start: str, end: str, at: str = "") -> tuple[str, ...]:
        """Ask a router (that of `start`) for a path; none if there is none."""
        ask = routes.FindRoute(start=start, end=end)
        answer = self.cluster.ask(f"router@{at or start}", ask)
        return answer.path if isinstance(answer, routes.Route) else ()

    def add(self, origin: str, destination: str, wait: float = 20.0, **terms: Any) -> Message:
        ask = sessions.AddSession(destination=destination, **terms)
        return self.cluster.ask(f"sessions@{origin}", ask, wait)

    def seen(self, origin: str, destination: str) -> SessionState:
        (found,) = [it for it in self.all(origin).sessions if it.destination == destination]
        return found

    def all(self, node: str) -> sessions.Sessions:
        answer = self.cluster.ask(f"sessions@{node}", sessions.ListSessions())
        assert isinstance(answer, sessions.Sessions)
        return answer

    def lanes(self, at: str) -> list[LaneOpened]:
        """Return the lanes open at a relay or virtual link."""
        return list(self.actor(at, Lanes).open.values())

    def actor(self, at: str, kind: type[A]) -> A:
        found = self.cluster.actor(at)
        assert isinstance(found, kind)
        return found

    def has(self, at: str) -> bool:
        address = Address.parse(at)
        return address.name in self.cluster.nodes[address.node].actors

    # What a node is made of

    def neighbours(self, node: str) -> list[str]:
        pairs = self.cluster.links
        return sorted({*(b for a, b in pairs if a == node), *(a for a, b in pairs if b == node)})

    def recipe(self, system: StepSystem) -> None:
        node, near = system.node, self.neighbours(system.node)
        words = tuple(sorted(set(DOORS) - (TOGETHER if node in self.old else set())))
        me = peers.Capabilities(id=f"id-{node}", name=node, version="1", words=words, interfaces=())
        plan = PeerPlan(
            me=me,
            directory=self.directory,
            subtree=self.distant,
            stores=tuple(near),
            alive=lambda: self.alive(node),
            watchers=("router", "sessions"),
        )
        more = self.options | self.options_at.get(node, {})
        options = SessionOptions(**more)
        sessions = SessionPlan(signing=key_of(node), subtree=self.distant, options=options)
        children = (
            *(Child(f"key_store/{peer}", Store, (peer,)) for peer in near),
            *(Child(f"relay/{peer}", Lanes) for peer in near),
            Child("peer_manager", PeerManager, (plan,)),
            Child("router", Router, (RouterOptions(signing=key_of(node)),)),
            Child("sessions", SessionManager, (sessions,)),
        )
        system.spawn("supervisor", Supervisor, children, give_up)

    def alive(self, node: str) -> list[str]:
        presence = self.cluster.presence
        return [peer for peer in presence.peers(node) if presence.up(node, peer)]

    @staticmethod
    def distant(peer: str) -> Child:
        children = (
            Child(f"key_store/{peer}", Distant, (peer,)),
            Child(f"virtual_link/{peer}", Lanes),
        )
        return Child(f"peer/{peer}", Supervisor, (children, give_up))


def chain(n: int) -> str:
    return " ".join(f"n{i}-n{i + 1}" for i in range(1, n))


def ring(n: int) -> str:
    return f"{chain(n)} n{n}-n1"
