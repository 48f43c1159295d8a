"""The router: hears how the links of all others are, floods it, and finds paths."""

import itertools
from collections.abc import Iterable, Iterator

from actors.base import Actor, System, handles
from actors.network.lsdb import JUMP_MAX, LINKS_MAX, Avoid, LinkStateDatabase, Verdict, verify_lsa
from actors.network.neighbours import Neighbours
from actors.network.originate import Originate, RouterOptions
from actors.protocol import alarms, peers, routes
from actors.protocol.common import Health, Healthy, Refused
from actors.protocol.routes import LinkState
from transport.envelope import Address
from transport.message import Message, local
from transport.quota import Allowance

TICK_S = 1.0
GROUP_S = 0.05
COMPARE_S = 30.0
STATES_A_MESSAGE = 256
_STATES_S, _STATES_BURST = 16.0, 64.0
_KNOWN_S, _KNOWN_BURST = 0.2, 5.0
AGAIN_S = 1 / _KNOWN_S
"""Seconds between two comparisons with a neighbour that knows more: it hears no more of them."""
_ALARMS = {"signature": "link_state_forged", Verdict.JUMP.value: "link_state_jump"}
"""Reasons for which a state is refused that no honest network gives."""


@local
class Tick(Message):
    """Time to age, to refresh, to compare with a neighbour."""


@local
class PassOn(Message):
    """What has been collected meanwhile goes on to the neighbours."""


def in_pieces(states: Iterable[LinkState]) -> Iterator[tuple[LinkState, ...]]:
    """Divide states so that each piece fits one frame, whatever number of links a node has."""
    piece: list[LinkState] = []
    links = 0
    for state in states:
        if piece and (len(piece) == STATES_A_MESSAGE or links + len(state.links) > LINKS_MAX):
            yield tuple(piece)
            piece, links = [], 0
        piece.append(state)
        links += len(state.links)
    if piece:
        yield tuple(piece)


class Router(Actor):
    """Keeps the link-state database of the network in step with the neighbours.

    Its parts know the neighbours, and make our own link state. What befalls it, and who hears of
    that in which order, stands below; whatever may have changed ends with a look.
    """

    parts = (Neighbours, Originate)

    def __init__(self, system: System, name: str, options: RouterOptions) -> None:
        super().__init__(system, name)
        self.lsdb = LinkStateDatabase(frozenset())
        self.neighbours = Neighbours(self, events=self)
        self.originate = Originate(
            self, neighbours=self.neighbours, options=options, commit=self.commit, events=self
        )
        self.serve(self.neighbours, self.originate)
        self._signed_by: dict[str, str] = {}
        self._to_flood: dict[str, str] = {}
        self._grouping = False
        self._version_told, self._told_at = 0, -TICK_S
        self._compared_at, self._turn = 0.0, 0
        self._compared_with: dict[str, float] = {}
        self._allowed: dict[str, tuple[Allowance, Allowance]] = {}

    # What befalls it: start, network changed, peer up, peer down, level, tick, our own state

    def started(self) -> None:
        """Go on counting where the last life ended, and ask who is who."""
        self.originate.load()
        self._compared_at = self.system.now()
        self.neighbours.subscribe()
        self.go_on(TICK_S, Tick())

    def network_changed(self) -> None:
        """Hear the KMSs of the directory by their keys, and compare with new neighbours."""
        public, before = self.neighbours.public, self._signed_by
        if public.keys() != self.lsdb.origins:
            self.lsdb.set_origins(public)
        self.lsdb.forget(it for it, key in public.items() if before.get(it, key) != key)
        self._signed_by = public
        self._allowed.clear()
        for peer in self.neighbours.linked_up():
            if peer not in self._compared_with:
                self._compare(peer)
        self._look()

    def peer_up(self, peer: str) -> None:
        """Compare with a neighbour that is there (again)."""
        if peer in self.neighbours.linked:
            self._compare(peer)
            self._look()

    def peer_down(self, peer: str) -> None:
        """A link without its other end is none."""
        self._compared_with.pop(peer, None)
        self._look()

    def level_changed(self, level: routes.LinkLevel, *, usable_now: bool) -> None:
        """Sessions want to know as well."""
        self.tell(self.neighbours.here("sessions"), level)
        self._look()

    @handles(Tick)
    def tick(self, _: Tick) -> None:
        """Age, refresh, and compare with one neighbour after the other: a word may get lost."""
        if self.sender != self.address:
            return
        self.go_on(TICK_S, Tick())
        now = self.system.now()
        self.lsdb.age(now)
        self.originate.if_old()
        up = self.neighbours.linked_up()
        if up and now - self._compared_at >= COMPARE_S:
            self._compared_at, self._turn = now, self._turn + 1
            self._compare(up[self._turn % len(up)])
        self._tell_changes()
        self.system.meter.set("protokms_states_known", len(self.lsdb))

    def link_state_made(self, state: LinkState) -> None:
        """Our own state is durable: it goes out as if a neighbour had told it."""
        self._accept(state, self.system.node)
        self._look()

    def link_state_due(self) -> None:
        """Look again, when a wait is over."""
        self._look()

    def _look(self) -> None:
        self._tell_changes()
        self.originate.if_changed()

    def _tell_changes(self) -> None:
        """Let sessions look for better paths, once a second at most."""
        now = self.system.now()
        if self._version_told != self.lsdb.version and now - self._told_at >= TICK_S:
            self._version_told, self._told_at = self.lsdb.version, now
            self.tell(self.neighbours.here("sessions"), routes.RoutesChanged())

    # What the neighbours say

    @handles(routes.LinkStates)
    def states(self, news: routes.LinkStates) -> None:
        """Take what is new and signed, and flood it."""
        peer = self.sender.node
        if not self._hears(peer, len(news.states), 0):
            return
        for state in news.states:
            if state.origin == self.system.node:
                self._of_ourselves(peer, state)
            elif self._is_news(peer, state):
                self._accept(state, peer)
        self._tell_changes()

    @handles(routes.KnownStates)
    def known(self, word: routes.KnownStates) -> None:
        """Tell a neighbour what it lacks, and ask for what we lack: our own word may be lost."""
        peer = self.sender.node
        if not self._hears(peer, 1, 1):
            return
        self._say(peer, self.lsdb.missing_from(word.known))
        rest = self._compared_with.get(peer, -AGAIN_S) + AGAIN_S - self.system.now()
        if rest <= 0 and self.lsdb.lacks(word.known):
            self._compare(peer)

    def _hears(self, peer: str, n: int, which: int) -> bool:
        if peer not in self.neighbours.linked:
            self._refuse(peer, "no_neighbour")
            return False
        now, size = self.system.now(), len(self.neighbours.public)
        allowed = self._allowed.get(peer)
        if allowed is None:
            states = Allowance(_STATES_S + size / 5, _STATES_BURST + 2 * size)
            allowed = states, Allowance(_KNOWN_S, _KNOWN_BURST)
            self._allowed[peer] = allowed
        if allowed[which].take(n, now):
            return True
        self._refuse(peer, "flood")
        return False

    def _is_news(self, peer: str, state: LinkState) -> bool:
        verdict, now = self.lsdb.compare(state), self.system.now()
        if verdict is Verdict.STRANGER or len(state.links) >= len(self.neighbours.public):
            self._refuse(peer, "stranger")
        elif verdict in (Verdict.STALE, Verdict.JUMP):
            self._refuse(peer, verdict.value)
        elif verdict is Verdict.NEWS and self.lsdb.arrives_too_soon(state.origin, now):
            self._refuse(peer, "hurry")
        else:
            return verdict is Verdict.NEWS
        return False

    def _accept(self, state: LinkState, peer: str) -> None:
        """Take a state in and flood it, if it is news and signed."""
        good = verify_lsa(state, self.neighbours.public[state.origin])
        if good is None:
            self._refuse(peer, "signature")
        elif self.lsdb.install(good, self.system.now()) is Verdict.NEWS:
            self._flood(state.origin, peer)

    def _of_ourselves(self, peer: str, state: LinkState) -> None:
        """Let a later state of ours than we know be outdone, if we have signed it once.

        Not one that is too far: the network does not follow us there (or not for long).
        """
        if state.seq <= self.originate.seq:
            return
        if state.seq - self.originate.seq > JUMP_MAX:
            self._refuse(peer, Verdict.JUMP.value)
            return
        if verify_lsa(state, self.neighbours.public[self.system.node]) is None:
            self._refuse(peer, "signature")
            return
        self.originate.outdo(state.seq)
        self._look()

    def _refuse(self, peer: str, reason: str) -> None:
        self.system.meter.add("protokms_states_refused", peer=peer, reason=reason)
        if reason in _ALARMS:
            raised = alarms.Raised(id=_ALARMS[reason], subject=peer)
            self.tell(alarms.told(self.system.node), raised)

    # What they are told

    def _flood(self, origin: str, source: str) -> None:
        """Tell the neighbours at once, unless we have just done so: then together, soon."""
        self._to_flood[origin] = source
        if not self._grouping:
            self._grouping = True
            self.tell(self.address, PassOn())

    @handles(PassOn)
    def pass_on(self, _: PassOn) -> None:
        """Say what was collected."""
        if self.sender != self.address:
            return
        if not self._to_flood:
            self._grouping = False
            return
        collected, self._to_flood = self._to_flood, {}
        for peer in self.neighbours.linked_up():
            origins = [it for it, source in collected.items() if peer not in (source, it)]
            found = [self.lsdb.of(origin) for origin in origins]
            self._say(peer, [state for state in found if state])
        self.remind(GROUP_S, PassOn())

    def _say(self, peer: str, states: list[LinkState]) -> None:
        for some in in_pieces(states):
            self.tell(Address("router", peer), routes.LinkStates(states=some))
            self.system.meter.add("protokms_states_sent", len(some))

    def _compare(self, peer: str) -> None:
        """Exchange summaries of the database with a neighbour."""
        self._compared_with[peer] = self.system.now()
        self.tell(Address("router", peer), routes.KnownStates(known=self.lsdb.summary()))

    # Who asks for paths

    @handles(routes.AskPathRate)
    def on_ask_path_rate(self, ask: routes.AskPathRate) -> routes.PathRate:
        """Say what the slowest link of some paths brings."""
        return routes.PathRate(rate=min(map(self.lsdb.rate, ask.paths), default=0))

    @handles(routes.AskLinks)
    def on_ask_links(self, ask: routes.AskLinks) -> routes.KnownLinks:
        """Say which of these nodes are neighbours."""
        nodes = sorted(set(ask.nodes))
        peers = {node: {peer for peer, _ in self.lsdb.links(node)} for node in nodes}
        pairs = [(one, it) for one in nodes for it in sorted(peers[one] & peers.keys()) if one < it]
        return routes.KnownLinks(
            links=tuple(pairs), linked=tuple(node for node in nodes if peers[node])
        )

    @handles(routes.FindPaths)
    def find_paths(self, ask: routes.FindPaths) -> routes.Paths:
        """Find paths from here; of our own links only those that are up this very moment."""
        here = self.system.node
        alive = {it.peer for it in self.originate.links()}
        told = self.lsdb.of(here)
        gone = [(here, it.peer) for it in (told.links if told else ()) if it.peer not in alive]
        avoid = Avoid(ask.avoid, [*ask.broken, *gone])
        return routes.Paths(paths=self.lsdb.find_paths(here, ask.to, ask.n, avoid, ask.keep))

    @handles(routes.FindRoute)
    def find_route(self, ask: routes.FindRoute) -> routes.Route:
        """Find a path for somebody who is curious."""
        for name in (ask.start, ask.end):
            if name not in self.neighbours.public:
                raise Refused("no_such_peer", name)
        found = self.lsdb.shortest_path(ask.start, ask.end)
        if found is None:
            raise Refused("no_route", f"{ask.start} to {ask.end}")
        path, cost = found
        hops = [self.lsdb.link_load(*hop) for hop in itertools.pairwise(path)]
        return routes.Route(path=path, cost=cost, links=tuple(load for load in hops if load))

    @handles(peers.Subscribe)
    def subscribe(self, _: peers.Subscribe) -> None:
        """Sessions have started anew: tell them how our links are."""
        for level in self.neighbours.levels.values():
            self.tell(self.neighbours.here("sessions"), level)

    @handles(Health)
    def health(self, _: Health) -> Healthy:
        """Ready whenever it answers."""
        facts = {
            "states_known": str(len(self.lsdb)),
            "seq": str(self.originate.seq),
            "links": str(len(self.originate.links())),
            "neighbours_up": str(len(self.neighbours.linked_up())),
        }
        return Healthy(ready=True, reasons=(), facts=tuple(facts.items()))
