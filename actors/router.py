"""The router: hears how the links of all others are, passes it on, and finds paths."""

import itertools

from actors.base import System, handles
from actors.own_links import OwnLinks, RouterOptions
from actors.protocol import peers, routes
from actors.protocol.common import Health, Healthy, Refused
from actors.protocol.routes import LinkState
from actors.routes import Avoid, Picture, Verdict, claim
from transport.envelope import Address
from transport.message import Message, local
from transport.quota import Allowance

TICK_S = 1.0
GROUP_S = 0.05
COMPARE_S = 30.0
STATES_A_MESSAGE = 256
_STATES_S, _STATES_BURST = 16.0, 64.0
_KNOWN_S, _KNOWN_BURST = 0.2, 5.0


@local
class Tick(Message):
    """Time to age, to refresh, to compare with a neighbour."""


@local
class PassOn(Message):
    """What has been collected meanwhile goes on to the neighbours."""


class Router(OwnLinks):
    """Keeps the picture of the network; our own links are the business of its base."""

    def __init__(self, system: System, name: str, options: RouterOptions) -> None:
        super().__init__(system, name, options)
        self.picture = Picture(frozenset())
        self._pending: dict[str, str] = {}
        self._grouping = False
        self._seen, self._changed_at = 0, -TICK_S
        self._compared, self._turn = 0.0, 0
        self._compared_with: dict[str, None] = {}
        self._allowed: dict[str, tuple[Allowance, Allowance]] = {}

    def started(self) -> None:
        """Go on counting where the last life ended, and ask who is who."""
        self.load()
        self._compared = self.system.now()
        self.watch()
        self.go_on(TICK_S, Tick())

    # Who is who, and how our links are

    def network_changed(self) -> None:
        """Hear the KMSs of the directory by their keys, and compare with new neighbours."""
        if self.public.keys() != self.picture.names:
            self.picture.admit(self.public)
        self._allowed.clear()
        for peer in self.linked:
            if peer in self.up and peer not in self._compared_with:
                self._compare(peer)
        self.look()

    def peer_came(self, peer: str) -> None:
        """Compare with a neighbour that is there (again)."""
        if peer in self.linked:
            self._compare(peer)
            self.look()

    def peer_left(self, peer: str) -> None:
        """A link without its other end is none."""
        self._compared_with.pop(peer, None)
        self.look()

    def level_changed(self, level: routes.LinkLevel, *, came: bool) -> None:
        """Sessions want to know as well."""
        self.tell(self.here("sessions"), level)
        self.look()

    @handles(peers.Subscribe)
    def subscribe(self, _: peers.Subscribe) -> None:
        """Sessions have started anew: tell them how our links are."""
        for level in self.levels.values():
            self.tell(self.here("sessions"), level)

    # What the neighbours say

    @handles(routes.LinkStates)
    def states(self, news: routes.LinkStates) -> None:
        """Take what is new and signed, and pass it on."""
        peer = self.sender.node
        if not self._hears(peer, len(news.states), 0):
            return
        for state in news.states:
            if state.origin == self.system.node:
                self._of_ourselves(peer, state)
            elif self._is_news(peer, state):
                self.accept(state, peer)
        self.note_change()

    @handles(routes.KnownStates)
    def known(self, word: routes.KnownStates) -> None:
        """Tell a neighbour what it lacks."""
        peer = self.sender.node
        if self._hears(peer, 1, 1):
            self._say(peer, self.picture.lacking(word.known))

    def _hears(self, peer: str, n: int, which: int) -> bool:
        if peer not in self.linked:
            self._refuse(peer, "no_neighbour")
            return False
        now, size = self.system.now(), len(self.public)
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
        verdict, now = self.picture.weigh(state), self.system.now()
        if verdict is Verdict.STRANGER or len(state.links) >= len(self.public):
            self._refuse(peer, "stranger")
        elif verdict is Verdict.STALE:
            self._refuse(peer, "stale")
        elif verdict is Verdict.NEWS and self.picture.hurries(state.origin, now):
            self._refuse(peer, "hurry")
        else:
            return verdict is Verdict.NEWS
        return False

    def accept(self, state: LinkState, peer: str) -> bool:
        """Take a state in and pass it on, if it is news and signed."""
        good = claim(state, self.public[state.origin])
        if good is None:
            self._refuse(peer, "signature")
            return False
        if self.picture.take(good, self.system.now()) is not Verdict.NEWS:
            return False
        self._pass_on(state.origin, peer)
        return True

    def _of_ourselves(self, peer: str, state: LinkState) -> None:
        """Somebody knows a later word of ours than we do, lost with a disk: go on from there."""
        if state.seq <= self.seq:
            return
        if claim(state, self.public[self.system.node]) is None:
            self._refuse(peer, "signature")
            return
        self.log.warning("seq_was_lost", ours=self.seq, theirs=state.seq)
        self.seq = state.seq
        self.told = None
        self.look()

    def _refuse(self, peer: str, reason: str) -> None:
        self.system.meter.add("protokms_states_refused", peer=peer, reason=reason)

    # What they are told

    def _pass_on(self, origin: str, source: str) -> None:
        """Tell the neighbours at once, unless we have just done so: then together, soon."""
        self._pending[origin] = source
        if not self._grouping:
            self._grouping = True
            self.tell(self.address, PassOn())

    @handles(PassOn)
    def pass_on(self, _: PassOn) -> None:
        """Say what was collected."""
        if self.sender != self.address:
            return
        if not self._pending:
            self._grouping = False
            return
        pending, self._pending = self._pending, {}
        for peer in self.linked:
            if peer in self.up:
                origins = [it for it, source in pending.items() if peer not in (source, it)]
                found = [self.picture.of(origin) for origin in origins]
                self._say(peer, [state for state in found if state])
        self.remind(GROUP_S, PassOn())

    def _say(self, peer: str, states: list[LinkState]) -> None:
        for at in range(0, len(states), STATES_A_MESSAGE):
            some = tuple(states[at : at + STATES_A_MESSAGE])
            self.tell(Address("router", peer), routes.LinkStates(states=some))
            self.system.meter.add("protokms_states_sent", len(some))

    def _compare(self, peer: str) -> None:
        self._compared_with[peer] = None
        self.tell(Address("router", peer), routes.KnownStates(known=self.picture.known()))

    # From time to time

    @handles(Tick)
    def tick(self, _: Tick) -> None:
        """Age, refresh, and compare with one neighbour after the other: a word may get lost."""
        if self.sender != self.address:
            return
        self.go_on(TICK_S, Tick())
        now = self.system.now()
        self.picture.age(now)
        if self.public and now - self.flooded >= self.options.refresh_s:
            self.tell_links()
        up = [peer for peer in self.linked if peer in self.up]
        if up and now - self._compared >= COMPARE_S:
            self._compared, self._turn = now, self._turn + 1
            self._compare(up[self._turn % len(up)])
        self.note_change()
        self.system.meter.set("protokms_states_known", len(self.picture))

    def note_change(self) -> None:
        """Let sessions look for better paths, once a second at most."""
        now = self.system.now()
        if self._seen != self.picture.version and now - self._changed_at >= TICK_S:
            self._seen, self._changed_at = self.picture.version, now
            self.tell(self.here("sessions"), routes.RoutesChanged())

    # Who asks for paths

    @handles(routes.FindPaths)
    def find_paths(self, ask: routes.FindPaths) -> routes.Paths:
        """Find paths from here; of our own links only those that are up this very moment."""
        here = self.system.node
        alive = {it.peer for it in self.links()}
        told = self.picture.of(here)
        gone = [(here, it.peer) for it in (told.links if told else ()) if it.peer not in alive]
        avoid = Avoid(ask.avoid, [*ask.broken, *gone])
        return routes.Paths(paths=self.picture.find(here, ask.to, ask.n, avoid, ask.keep))

    @handles(routes.FindRoute)
    def find_route(self, ask: routes.FindRoute) -> routes.Route:
        """Find a path for somebody who is curious."""
        for name in (ask.start, ask.end):
            if name not in self.public:
                raise Refused("no_such_peer", name)
        found = self.picture.best(ask.start, ask.end)
        if found is None:
            raise Refused("no_route", f"{ask.start} to {ask.end}")
        path, cost = found
        hops = [self.picture.load(*hop) for hop in itertools.pairwise(path)]
        return routes.Route(path=path, cost=cost, links=tuple(load for load in hops if load))

    @handles(Health)
    def health(self, _: Health) -> Healthy:
        """Ready whenever it answers."""
        up = [peer for peer in self.linked if peer in self.up]
        facts = {
            "states_known": str(len(self.picture)),
            "seq": str(self.seq),
            "links": str(len(self.links())),
            "neighbours_up": str(len(up)),
        }
        return Healthy(ready=True, reasons=(), facts=tuple(facts.items()))
