"""Whole networks in one thread, on a clock that only a test moves: one seed, one run."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from actors.base import Actor
from actors.protocol.peers import PeerDown, PeerUp
from actors.runtime.ports import Inbox
from protokms.node.meter import MemoryMeter
from protokms.testing.agenda import Agenda
from protokms.testing.breaking import Breakable
from protokms.testing.clocks import NodeClock
from protokms.testing.disk import Disk, MemoryStore
from protokms.testing.network import Network
from protokms.testing.presence import Presence
from protokms.testing.probe import Probe
from protokms.testing.steps import Crash, StepSystem
from transport.envelope import Address, Envelope
from transport.message import Message
from transport.session import Doors

Recipe = Callable[[StepSystem], None]
"""Starts the actors of a node: called at every start of it, as `protokms run` would be."""


class NoAnswer(AssertionError):
    """A question was still open when the time given for it was over."""


class ActorCrashed(AssertionError):
    """An actor died in a cluster that does not put up with it (`tolerant=False`)."""


class Cluster(Breakable):
    """Some nodes, the wires between them, and the time.

    `nodes` is a text such as `"a-b b-c"`: every name is a node, every dash a pair of
    neighbours (`links`); with dashes inside the names write `"kms-1--kms-2"`. Or it is a
    sequence of names. Any two nodes are connected from the first frame that one sends to the
    other, neighbours from the start. Every node reaches every other until `cut`: the dashes are
    quantum links, for the recipe to make something of.

    Nothing happens but in `settle`, `advance` and `ask`. Everything that is left to chance is
    drawn from `seed`. `shuffle` also lets the seed decide whose turn is next.

    `doors` says which words peers may say to whom (default: `actors.protocol.doors`). The actors
    in `hear_peers` are told `PeerUp` and `PeerDown` by the transport; `{peer}` is filled in, so a
    cluster of bare key stores can take `("key_store/{peer}",)`. With `connected` the ends of each
    link hear each other from the start, and else from the first frame on.
    """

    def __init__(
        self,
        nodes: str | Iterable[str],
        recipe: Recipe | None = None,
        *,
        seed: int = 0,
        shuffle: bool = False,
        tolerant: bool = False,
        disk: Callable[[str], Disk] = lambda _: MemoryStore(),
        doors: Doors | None = None,
        hear_peers: Sequence[str] = ("peer_manager",),
        connected: bool = True,
    ) -> None:
        names, self.links = parse(nodes)
        self.seed, self.tolerant = seed, tolerant
        self.agenda = Agenda(seed, shuffle=shuffle)
        self.net = Network(self.agenda)
        self.presence = Presence(self.agenda, self._reachable, self._tell_of)
        self.recipe, self._doors = recipe, doors
        self.hear_peers = tuple(hear_peers)
        self.crashes: list[Crash] = []
        self.nodes: dict[str, StepSystem] = {}
        self.obituaries: list[Callable[[str], None]] = []
        self.draws: list[Callable[[str, bytes], None]] = []
        self._disks = {name: disk(name) for name in names}
        self._meters = {name: MemoryMeter() for name in names}
        self._lives = dict.fromkeys(names, 0)
        self._boots = dict.fromkeys(names, 0)
        self._clocks = {name: NodeClock(self.agenda) for name in names}
        self._commit_s = dict.fromkeys(names, 0.0)
        self._slices = dict.fromkeys(names, (0.0, 1 << 20))
        self._places: dict[Address, Inbox] = {}
        self._doom: dict[str, tuple[int, bool]] = {}
        self._complaint: Crash | None = None
        self._asked = 0
        for one, other in self.links if connected else ():
            self.presence.connect(one, other)
        for name in names:
            self.start(name)

    # Time

    @property
    def now(self) -> float:
        """Seconds since the cluster was made."""
        return self.agenda.now

    def settle(self) -> None:
        """Do everything that can be done without time passing."""
        self.agenda.settle()

    def advance(self, seconds: float) -> None:
        """Let time pass, one timer after the other."""
        self.agenda.advance(seconds)

    # Talking to actors

    def ask(self, to: str, body: Message, wait: float = 0.0) -> Message:
        """Ask the actor `name@node` from its own node; return the answer, maybe a `Failed`.

        At most `wait` seconds pass, and no more than the answer takes. `NoAnswer` if none comes.
        """
        self._asked += 1
        address = Address.parse(to)
        system, here = self.nodes[address.node], f"test-{self._asked}"
        probe = Probe(self, Address(here, address.node))
        system.register(here, probe)
        system.send(Envelope(probe.address, address, body, token=1))
        self.agenda.advance(wait, until=lambda: bool(probe.envelopes))
        system.unregister(here)
        if not probe.envelopes:
            raise NoAnswer(f"{to}: {type(body).__name__}, {wait} s, seed {self.seed}")
        return probe.envelopes[0].body

    def tell(self, to: str, body: Message, sender: str | None = None) -> None:
        """Tell the actor `name@node` something, and let all come to rest.

        `sender` is the address it comes from: that of a peer's actor, say, to play that peer.
        """
        address = Address.parse(to)
        origin = Address.parse(sender) if sender else Address("test", address.node)
        self.nodes[origin.node].send(Envelope(origin, address, body))
        self.settle()

    def probe(self, at: str) -> Probe:
        """Put a probe in an actor's place, `name@node`."""
        probe = Probe(self, Address.parse(at))
        self.place(at, probe)
        return probe

    def place(self, at: str, inbox: Inbox) -> None:
        """Put something of your own in an actor's place; it survives a crash of its node."""
        address = Address.parse(at)
        self._places[address] = inbox
        self.nodes[address.node].register(address.name, inbox)

    def actor(self, at: str) -> Actor:
        """Return the actor itself, to look into it; `KeyError` if there is none."""
        address = Address.parse(at)
        found = self.nodes[address.node].actors[address.name]
        if not isinstance(found, Actor):
            raise KeyError(at)
        return found

    def spawn(self, at: str, kind: type[Actor], *args: Any) -> Address:
        """Start an actor under `name@node`, outside any recipe; a crash of the node ends it."""
        address = Address.parse(at)
        made = self.nodes[address.node].spawn(address.name, kind, *args)
        for peer in self.presence.peers(address.node):
            if self.presence.up(address.node, peer):
                self._tell_of(address.node, peer, up=True, only=address.name)
        self.settle()
        return made

    def count(self, node: str, name: str, **labels: str) -> float:
        """Read what a node's meter has counted, over all its lives."""
        return sum(
            sample.value
            for samples in self._meters[node].samples(name)
            for sample in samples
            if labels.items() <= dict(sample.labels).items()
        )

    def close(self) -> None:
        """Kill all nodes and close their disks."""
        for system in self.nodes.values():
            system.die()
        for disk in self._disks.values():
            disk.close()

    # What the nodes call

    def crashed(self, crash: Crash) -> None:
        """Note the death of an actor."""
        self.crashes.append(crash)
        self._complaint = crash

    def complain(self) -> None:
        """Raise what an actor died of, unless the cluster is tolerant."""
        crash, self._complaint = self._complaint, None
        if crash and not self.tolerant:
            during = type(crash.during.body).__name__ if crash.during else "its start or stop"
            raise ActorCrashed(f"{crash.address} in {during}, seed {self.seed}") from crash.why

    def post(self, sender: str, to: str, octets: bytes) -> bool:
        """Send a frame, over a connection opened for it if need be; false if the peer is down."""
        if to in self._disks:
            self.presence.connect(sender, to)
        up = self.presence.up(sender, to)
        if up:
            self.net.post(sender, to, octets)
        return up

    def _cluster(self) -> "Cluster":
        return self

    def _tell_of(self, node: str, peer: str, *, up: bool, only: str = "") -> None:
        system = self.nodes[node]
        body = PeerUp(peer=peer) if up else PeerDown(peer=peer)
        for pattern in self.hear_peers:
            name = pattern.format(peer=peer)
            if name in system.actors and only in ("", name):
                system.send(Envelope(Address("transport", node), Address(name, node), body))


def parse(nodes: str | Iterable[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Read `"a-b b-c"` or `"kms-1--kms-2"`: the names, sorted, and the pairs."""
    if not isinstance(nodes, str):
        return sorted(nodes), []
    dash = "--" if "--" in nodes else "-"
    words = [word.split(dash) for word in nodes.split()]
    if any(len(word) > 2 or not all(word) for word in words):  # noqa: PLR2004 -- two ends
        raise ValueError(f"not a network: {nodes!r}")
    return sorted({name for word in words for name in word}), [
        (word[0], word[1]) for word in words if len(word) > 1
    ]
