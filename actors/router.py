"""The router: says how the links of this node are, hears it of all others, and finds paths."""

import itertools
from dataclasses import dataclass

import msgspec

from actors.base import Row, System, handles
from actors.protocol import peers, routes
from actors.protocol.common import Health, Healthy, Refused
from actors.protocol.routes import LinkLoad, LinkState
from actors.routes import Avoid, Picture, Verdict, claim, differs, step
from actors.signing import Signer, state_text
from actors.watching import Watching
from transport.envelope import Address
from transport.message import Message, Secret, local
from transport.quota import Allowance

TICK_S = 1.0
GROUP_S = 0.05
SETTLE_S = 0.25
COMPARE_S = 30.0
STATES_A_MESSAGE = 256
_STATES_S, _STATES_BURST = 16.0, 64.0
_KNOWN_S, _KNOWN_BURST = 0.2, 5.0
_STORE = "router"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterOptions:
    """The node's Ed25519 key (32 octets), and how often it tells how its links are."""

    signing: Secret
    flood_s: float = 5.0
    refresh_s: float = 60.0


@local
class Tick(Message):
    """Time to age, to refresh, to compare with a neighbour."""


@local
class Flood(Message):
    """Our own links may be told now."""


@local
class PassOn(Message):
    """What has been collected meanwhile goes on to the neighbours."""


class Router(Watching):
    """Keeps the picture of the network; what it says of itself is signed and numbered for ever."""

    def __init__(self, system: System, name: str, options: RouterOptions) -> None:
        super().__init__(system, name)
        self._options = options
        self._signer = Signer(options.signing)
        self.picture = Picture(frozenset())
        self._seq = 0
        self._told: tuple[LinkLoad, ...] | None = None
        self._flooded = -options.refresh_s
        self._flooding = self._flood_set = False
        self._pending: dict[str, str] = {}
        self._grouping = False
        self._seen, self._changed_at = 0, -TICK_S
        self._compared, self._turn = 0.0, 0
        self._compared_with: dict[str, None] = {}
        self._allowed: dict[str, tuple[Allowance, Allowance]] = {}

    def started(self) -> None:
        """Go on counting where the last life ended, and ask who is who."""
        for row in self.system.load(_STORE):
            self._seq = msgspec.msgpack.decode(row.clear, type=int)
        self._flooded = self._compared = self.system.now() - self._options.flood_s
        self.watch()
        self.remind(TICK_S, Tick())

    # Who is who, and how our links are

    def network_changed(self) -> None:
        """Hear the KMSs of the directory by their keys, and compare with new neighbours."""
        if self.public.keys() != self.picture.names:
            self.picture.admit(self.public)
        self._allowed.clear()
        for peer in self.linked:
            if peer in self.up and peer not in self._compared_with:
                self._compare(peer)
        self._look()

    def peer_came(self, peer: str) -> None:
        """Compare with a neighbour that is there (again)."""
        if peer in self.linked:
            self._compare(peer)
            self._look()

    def peer_left(self, peer: str) -> None:
        """A link without its other end is none."""
        self._compared_with.pop(peer, None)
        self._look()

    def level_changed(self, level: routes.LinkLevel, *, came: bool) -> None:
        """Sessions want to know as well."""
        self.tell(self.here("sessions"), level)
        self._look()

    @handles(peers.Subscribe)
    def subscribe(self, _: peers.Subscribe) -> None:
        """Sessions have started anew: tell them how our links are."""
        for level in self.levels.values():
            self.tell(self.here("sessions"), level)

    def _links(self) -> tuple[LinkLoad, ...]:
        levels = [self.levels[peer] for peer in self.linked if self.usable(peer)]
        return tuple(LinkLoad(it.peer, step(it.stock), step(it.rate)) for it in levels)

    def _look(self) -> None:
        """Tell the network if it should hear: a loss at once, all else a little later, together."""
        self._note_change()
        if self._flooding or not self._news():
            return
        lost = {it.peer for it in self._told or ()} - {it.peer for it in self._links()}
        rest = self._flooded + self._options.flood_s - self.system.now()
        if rest <= 0 and lost:
            self._flood()
        elif not self._flood_set:
            self._flood_set = True
            self.remind(max(rest, 0.0 if lost else SETTLE_S), Flood())

    def _news(self) -> bool:
        return bool(self.public) and (self._told is None or differs(self._told, self._links()))

    @handles(Flood)
    def flood(self, _: Flood) -> None:
        """It is time, if there is still something to tell and nothing was told meanwhile."""
        if self.sender == self.address:
            self._flood_set = False
            if self._news() and self.system.now() - self._flooded >= self._options.flood_s:
                self._flood()
            else:
                self._look()

    def _flood(self) -> None:
        """Sign how our links are now; the number is durable before anybody hears of it."""
        if self._flooding or self.system.node not in self.public:
            return
        self._flooding, self._flooded = True, self.system.now()
        self._seq += 1
        seq, links, origin = self._seq, self._links(), self.system.node
        state = LinkState(origin, seq, links, self._signer.sign(state_text(origin, seq, links)))

        def durable() -> None:
            self._flooding = False
            self._told = links
            self.system.meter.add("protokms_floods")
            self._accept(state, origin)
            self._look()

        self.commit([Row(_STORE, "seq", b"", msgspec.msgpack.encode(seq))], durable)

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
                self._accept(state, peer)
        self._note_change()

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

    def _accept(self, state: LinkState, peer: str) -> bool:
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
        if state.seq <= self._seq:
            return
        if claim(state, self.public[self.system.node]) is None:
            self._refuse(peer, "signature")
            return
        self.log.warning("seq_was_lost", ours=self._seq, theirs=state.seq)
        self._seq = state.seq
        self._told = None
        self._look()

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
        self.remind(TICK_S, Tick())
        now = self.system.now()
        self.picture.age(now)
        if self.public and now - self._flooded >= self._options.refresh_s:
            self._flood()
        up = [peer for peer in self.linked if peer in self.up]
        if up and now - self._compared >= COMPARE_S:
            self._compared, self._turn = now, self._turn + 1
            self._compare(up[self._turn % len(up)])
        self._note_change()
        self.system.meter.set("protokms_states_known", len(self.picture))

    def _note_change(self) -> None:
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
        alive = {it.peer for it in self._links()}
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
            "seq": str(self._seq),
            "links": str(len(self._links())),
            "neighbours_up": str(len(up)),
        }
        return Healthy(ready=True, reasons=(), facts=tuple(facts.items()))
