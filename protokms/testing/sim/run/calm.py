"""A network that nobody asks and nothing disturbs: what its nodes say and keep must agree.

All is asked by words that a node answers to its own people, or counted by its meter.
"""

from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from itertools import combinations

from actors.protocol import peers, routes, sessions
from protokms.testing.cluster import Cluster
from protokms.testing.sim.checker.promise import BrokenPromise

CALM_S = 8.0
FRAMES_S = 2.0
"""Frames a second that a node says to each other one, at most, when there is no news."""
_LOOKS, _LOOK_S = 20, 1.0
"""So often, at most, until all agree: what nobody refreshes ends within 15 s."""
_LOOKS_DEAD = 4
"""A loss is told at once, or five seconds after what was told last."""
_ANSWER_S = 1.0
_REFUSALS = (
    *("frames_refused", "words_dropped", "grants_refused", "pads_refused", "relay_refused"),
    *("states_refused", "sessions_refused", "session_failures", "lanes_lost", "undeliverable"),
)
"""What honest nodes do not count while all is well."""


class Calm:
    """Looks for a while; each step raises `BrokenPromise` if it is not well.

    `until` lets time pass until then. `liars` may have said that they are others; what was said
    so is told of them until they say who they are again.
    """

    def __init__(
        self, cluster: Cluster, until: Callable[[float], None], liars: Collection[str] = ()
    ) -> None:
        self._cluster, self._until, self._liars = cluster, until, liars
        self._names = sorted(cluster.nodes)

    def look(self) -> None:
        """See that there is nothing to say, and that all nodes see one network."""
        self._nothing_new()
        self.agree()

    def agree(self) -> None:
        """LIVE: what nodes tell of peers, routes and sessions is one network, or is soon."""
        self._soon("LIVE", self._odd, _LOOKS)

    def without(self, dead: str) -> None:
        """P9: soon after a node has died nobody tells that it is there, or that it relays."""
        self._soon("P9", partial(self._odd_without, dead), _LOOKS_DEAD)

    def _soon(self, promise: str, look: Callable[[], dict[str, str]], most: int) -> None:
        odd = look()
        for _ in range(most):
            if not odd:
                return
            self._until(self._cluster.now + _LOOK_S)
            now = look()
            odd = {what: now[what] for what in odd if what in now}
        if odd:
            raise BrokenPromise(promise, f"what nodes tell is not so: {list(odd.values())}")

    def _odd(self) -> dict[str, str]:
        return {**self._odd_peers(), **self._odd_hops(), **self._odd_routes()}

    def _odd_peers(self) -> dict[str, str]:
        """Neighbours that are not told as up, or have not said who they are (liars may say so)."""
        odd = {}
        for one, other in self._cluster.links:
            for node, peer in ((one, other), (other, one)):
                state = self._peer(node, peer)
                known = peer in self._liars or (state.version and not state.trouble)
                if not (state.up and known):
                    odd[f"{node}>{peer}"] = f"{node} tells {state}"
        return odd

    def _peer(self, node: str, peer: str) -> peers.PeerState:
        got = self._cluster.ask(f"peer_manager@{node}", peers.ListPeers(), _ANSWER_S)
        assert isinstance(got, peers.Peers)
        return next(it for it in got.peers if it.name == peer)

    def _odd_without(self, dead: str) -> dict[str, str]:
        odd = {}
        alive = [node for node in self._names if node != dead]
        for node in alive:
            if self._peer(node, dead).up:
                odd[node] = f"{node} tells that {dead} is up, and it is dead"
            odd |= {
                f"{node} to {it.destination}": f"a session stands over {dead}, which is dead: {it}"
                for it in self._sessions(node)
                if it.state == "established" and any(dead in path for path in it.paths)
            }
        for start, end in combinations(alive, 2):
            ask = routes.FindRoute(start=start, end=end)
            for at in (start, end):
                told = self._cluster.ask(f"router@{at}", ask, _ANSWER_S)
                if isinstance(told, routes.Route) and dead in told.path:
                    odd[f"{at}: {start} to {end}"] = f"{at} tells of a dead node: {told}"
        return odd

    def _nothing_new(self) -> None:
        """LIVE: few frames; P9: nobody refuses an honest neighbour anything."""
        said: Counter[str] = Counter()

        def count(what: str, sender: str, _to: str, _frame: bytes) -> None:
            said[sender] += what == "posted"

        before = self._refusals()
        self._cluster.net.watchers.append(count)
        self._until(self._cluster.now + CALM_S)
        self._cluster.net.watchers.remove(count)
        most = FRAMES_S * CALM_S * (len(self._names) - 1)
        if loud := {node: n for node, n in said.items() if n > most}:
            raise BrokenPromise("LIVE", f"so many frames in {CALM_S:g} s of rest: {loud}")
        if refused := self._refusals() - before:
            raise BrokenPromise("P9", f"refused while all is well: {dict(refused)}")

    def _refusals(self) -> Counter[tuple[str, str]]:
        count = self._cluster.count
        return Counter(
            {
                (node, n): int(count(node, f"protokms_{n}"))
                for node in self._names
                for n in _REFUSALS
            }
        )

    def _odd_hops(self) -> dict[str, str]:
        """Nodes that keep other shares of sessions than those that lead over them.

        Where both ends of a pair have one, one of them fills, and the other gives way.
        """
        most: Counter[str] = Counter()
        least: Counter[str] = Counter()
        stand: dict[tuple[str, ...], list[Counter[str]]] = {}
        for node in self._names:
            for it in self._sessions(node):
                hops = Counter(hop for path in it.paths for hop in path)
                if it.state == "established":
                    stand.setdefault(tuple(sorted((node, it.destination))), []).append(hops)
                else:
                    most += hops
        for both in stand.values():
            least += both[0] & both[-1]
            most += both[0] | both[-1]
        kept = {node: int(self._cluster.count(node, "protokms_lanes")) for node in self._names}
        return {
            node: f"{node} keeps {n} shares, and {least[node]} to {most[node]} lead over it"
            for node, n in kept.items()
            if not least[node] <= n <= most[node]
        }

    def _sessions(self, node: str) -> tuple[sessions.SessionState, ...]:
        got = self._cluster.ask(f"sessions@{node}", sessions.ListSessions(), _ANSWER_S)
        assert isinstance(got, sessions.Sessions)
        return got.sessions

    def _odd_routes(self) -> dict[str, str]:
        """Pairs of nodes to which not all know a way, or not one of the same cost."""
        odd = {}
        for start, end in combinations(self._names, 2):
            ask = routes.FindRoute(start=start, end=end)
            told = [self._cluster.ask(f"router@{at}", ask, _ANSWER_S) for at in (start, end)]
            costs = {it.cost if isinstance(it, routes.Route) else -1.0 for it in told}
            if len(costs) > 1 or -1.0 in costs:
                odd[f"{start}-{end}"] = f"{start} to {end}: {told}"
        return odd
