"""The post in memory: many nodes in one thread, and every harm a network can do, by seed.

Nothing takes time but the news: who is cut off, in either direction, is *down* at both ends
after `silence` seconds, as with heartbeats; who is back is *up* with the next step.
"""

from collections import deque
from collections.abc import Callable, Iterable
from random import Random

from transport.codec import MAX_FRAME
from transport.outbox import CORE

Receive = Callable[[str, str, bytes], None]
News = Callable[[str, bool], None]
Pair = tuple[str, str]

SILENCE = 3.0
"""Seconds without a word after which a peer is down."""

IDLE = 300.0
"""Seconds without a frame after which a lazy connection is closed."""


class Port:
    """The end of the network that one node holds; call it, or its `post`, to send."""

    def __init__(self, net: "Loopback", node: str, receive: Receive, news: News) -> None:
        self.node, self.receive, self.news = node, receive, news
        self.peers: frozenset[str] | None = None
        self.lazy: frozenset[str] = frozenset()
        self.up: dict[str, None] = {}  # as the node was last told; a dict for its order
        self._net = net

    def post(self, name: str, octets: bytes) -> bool:
        """Queue a frame for a node. False: it is a dead letter."""
        return self._net.carry(self, name, octets)

    __call__ = post

    def set_peers(self, names: Iterable[str], lazy: Iterable[str] = ()) -> None:
        """Hear and reach only these from now on; before the first call, every node.

        With the `lazy` among them there is a connection only while it is used.
        """
        self.peers, self.lazy = frozenset(names), frozenset(lazy)
        self._net.stir()

    def leave(self) -> None:
        """Vanish, as a process does that is killed."""
        self._net.leave(self)

    def knows(self, name: str) -> bool:
        """Tell whether that node is in the table."""
        return name != self.node and (self.peers is None or name in self.peers)


class Loopback:
    """Carries octets between nodes. The same `random` and the same calls: the same story.

    `loss`, `duplication` and `reordering` are probabilities for each frame, and may be changed
    at any time; the real post does only the first of them.
    """

    def __init__(
        self,
        random: Random,
        *,
        loss: float = 0.0,
        duplication: float = 0.0,
        reordering: float = 0.0,
        limit: int = 10_000,
    ) -> None:
        self.loss, self.duplication, self.reordering = loss, duplication, reordering
        self.refused = 0
        """Frames that came from a node which the receiver does not know."""
        self._random, self._limit = random, limit
        self._ports: dict[str, Port] = {}
        self._cuts: dict[Pair, None] = {}
        self._frames: dict[Pair, deque[bytes]] = {}  # only those that hold something
        self._silent: dict[Pair, float] = {}  # (who, of whom) -> since when
        self._used: dict[Pair, float] = {}  # lazy connections, by sorted names; when last
        self._now = 0.0
        self._stirred = False  # whether there may be news without time passing

    # The network

    def join(self, node: str, receive: Receive, news: News) -> Port:
        """Connect a node; one that was there under this name has died, and this is its next life.

        `receive` gets (from which node, which process, the octets), `news` (which node, up).
        """
        if node in self._ports:
            self.leave(self._ports[node])
        for other in self._ports.values():
            if node in other.up:  # a new life greets: its peers hear it at once
                self._tell(other, node, up=False)
        self._ports[node] = port = Port(self, node, receive, news)
        self.stir()
        return port

    def leave(self, port: Port) -> None:
        """Take a node away, with all that is on the way to it and from it."""
        if self._ports.get(port.node) is port:
            del self._ports[port.node]
            self._forget(lambda pair: port.node in pair)
            self._silent = {pair: at for pair, at in self._silent.items() if pair[0] != port.node}
            self.stir()

    def cut(self, one: str, other: str, *, one_way: bool = False) -> None:
        """Let what `one` says to `other` get lost, silently; and the other way round."""
        for pair in self._ways(one, other, one_way=one_way):
            self._cuts[pair] = None
            self._frames.pop(pair, None)
        self.stir()

    def mend(self, one: str, other: str, *, one_way: bool = False) -> None:
        """Undo `cut`."""
        for pair in self._ways(one, other, one_way=one_way):
            self._cuts.pop(pair, None)
        self.stir()

    def stir(self) -> None:
        """Look for news at the next step: who reaches whom may have changed."""
        self._stirred = True

    def carry(self, port: Port, name: str, octets: bytes) -> bool:
        """Queue a frame from the node of `port`; it may be harmed here."""
        if self._ports.get(port.node) is not port:
            return False
        if name in port.lazy:
            self._use(port.node, name)
        if name not in port.up:
            return False
        pair = port.node, name
        queue = self._frames.get(pair, deque())
        if len(octets) > MAX_FRAME or len(queue) >= self._limit or not port.knows(name):
            return False
        if pair in self._cuts or name not in self._ports or self._happens(self.loss):
            return True
        self._frames[pair] = queue
        for _ in range(2 if self._happens(self.duplication) else 1):
            at = len(queue)
            if self._happens(self.reordering):
                at = self._random.randrange(len(queue) + 1)
            queue.insert(at, bytes(octets))
        return True

    # Time

    @property
    def pending(self) -> int:
        """How many frames are on the way."""
        return sum(map(len, self._frames.values()))

    def due(self) -> float | None:
        """When `step` will have news because of the time alone; None if never."""
        dues = [since + SILENCE for since in self._silent.values()]
        dues += [used + IDLE for used in self._used.values()]
        return min(dues, default=None)

    def step(self, now: float) -> bool:
        """Tell one piece of news, or deliver one frame; False when there was nothing to do."""
        self._now = now
        if self._spread(now):
            return True
        if not self._frames:
            return False
        pair = self._random.choice(list(self._frames))
        queue = self._frames[pair]
        octets = queue.popleft()
        if not queue:
            del self._frames[pair]
        sender, receiver = pair
        port = self._ports[receiver]
        if not port.knows(sender):
            self.refused += 1
        elif sender in port.up:
            port.receive(sender, CORE, octets)
        return True

    def _spread(self, now: float) -> bool:
        due = self.due()
        if not self._stirred and (due is None or now < due):
            return False
        for port in list(self._ports.values()):
            for name in [*self._ports, *port.up]:
                if self._clear(port, name):
                    self._silent.pop((port.node, name), None)
                    if name not in port.up:
                        self._tell(port, name, up=True)
                        return True
                elif name in port.up and self._sleeps(port, name):
                    self._tell(port, name, up=False)
                    return True
                elif name in port.up:
                    since = self._silent.setdefault((port.node, name), now)
                    if now >= since + SILENCE or not port.knows(name):
                        self._tell(port, name, up=False)
                        return True
        self._stirred = False
        return False

    def _clear(self, port: Port, name: str) -> bool:
        """Tell whether each of the two hears the other."""
        other = self._ports.get(name)
        if other is None or not (port.knows(name) and other.knows(port.node)):
            return False
        if self._sleeps(port, name):
            return False
        return not any(pair in self._cuts for pair in self._ways(port.node, name))

    def _use(self, one: str, other: str) -> None:
        pair = (min(one, other), max(one, other))
        self._stirred = self._stirred or pair not in self._used
        self._used[pair] = self._now

    def _sleeps(self, port: Port, name: str) -> bool:
        """Tell whether there is no connection because nobody uses it."""
        pair = (min(port.node, name), max(port.node, name))
        other = self._ports.get(name)
        if other is None or name not in port.lazy or port.node not in other.lazy:
            return False
        if self._now >= self._used.get(pair, -IDLE) + IDLE:
            if self._used.pop(pair, None) is not None:
                self._stirred = True  # for the other end
            return True
        return False

    def _tell(self, port: Port, name: str, *, up: bool) -> None:
        self._silent.pop((port.node, name), None)
        if up:
            port.up[name] = None
        else:
            port.up.pop(name, None)
            self._forget(lambda pair: pair == (port.node, name))
        port.news(name, up)

    def _forget(self, which: Callable[[Pair], bool]) -> None:
        for pair in [pair for pair in self._frames if which(pair)]:
            del self._frames[pair]

    @staticmethod
    def _ways(one: str, other: str, *, one_way: bool = False) -> list[Pair]:
        return [(one, other)] if one_way else [(one, other), (other, one)]

    def _happens(self, probability: float) -> bool:
        return probability > 0 and self._random.random() < probability
