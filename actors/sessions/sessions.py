"""The session manager: what befalls it, and which of its parts hears of that, in order."""

from actors.base import Actor, System, handles
from actors.crypto.signatures import Signer
from actors.network.neighbours import Neighbours
from actors.protocol import peers, routes, sessions
from actors.protocol.common import Health, Healthy
from actors.sessions.distant_stores import DistantStores
from actors.sessions.on_demand import OnDemand
from actors.sessions.options import SessionPlan
from actors.sessions.origin import Origin
from actors.sessions.refresh import Refreshing
from actors.sessions.room import Room, Use
from actors.sessions.serials import Serials
from actors.sessions.session import ESTABLISHED, OwnSessions
from actors.sessions.signalling import Signalling
from actors.sessions.terms import STORE, HopState, HopTable, Named, Terms
from actors.sessions.transit import Transit
from transport.message import Message, local

TICK_S = 1.0


@local
class Tick(Message):
    """Time to look what has expired, and what is due."""


class SessionManager(Actor):
    """Key transport sessions: those that begin here, and hop state of all that lead over here.

    Its parts, each asking only those before it: neighbours, distant stores, transit, refreshing,
    signalling, origin, on demand. What befalls it, and who hears of that in which order, stands
    below.
    """

    parts = (Neighbours, DistantStores, Transit, Refreshing, Signalling, Origin, OnDemand)

    def __init__(self, system: System, name: str, plan: SessionPlan) -> None:
        super().__init__(system, name)
        options = plan.options
        self._refresh_s, self._refreshed_at = options.refresh_s, 0.0
        own, hops = self.own, self.hops = OwnSessions(options.paths), HopTable()
        self.room, self._most_peers = Room(options), options.max_distant_peers
        self.serials, signer = Serials(), Signer(plan.signing)
        self.neighbours = near = Neighbours(self, events=self)
        self.stores = stores = DistantStores(
            self, neighbours=near, plan=plan, commit=self.commit, events=self
        )
        self.transit = Transit(
            self,
            neighbours=near,
            stores=stores,
            own=own,
            hops=hops,
            room=self.room,
            options=options,
            events=self,
        )
        self.refreshing = Refreshing(
            self,
            neighbours=near,
            transit=self.transit,
            own=own,
            hops=hops,
            room=self.room,
            serials=self.serials,
            signer=signer,
            options=options,
            commit=self.commit,
        )
        self.signalling = Signalling(
            self,
            neighbours=near,
            stores=stores,
            transit=self.transit,
            own=own,
            hops=hops,
            signer=signer,
            serials=self.serials,
        )
        self.origin = Origin(
            self,
            neighbours=near,
            stores=stores,
            signalling=self.signalling,
            refreshing=self.refreshing,
            own=own,
            hops=hops,
            options=options,
            commit=self.commit,
        )
        self.on_demand = OnDemand(
            self,
            neighbours=near,
            stores=stores,
            origin=self.origin,
            own=own,
            hops=hops,
            options=options,
            commit=self.commit,
        )
        self.serve(near, stores, self.transit, self.refreshing, self.signalling)
        self.serve(self.origin, self.on_demand)

    # What befalls it: start, network changed, peer up, peer down, level, tick; what parts report

    def started(self) -> None:
        """Load what is durable; all else is told anew, or comes with the next refresh."""
        rows = self.system.load(STORE)
        named = {row.id: Named.read(row.clear) for row in rows if row.kind == "named"}
        for row in rows:
            if row.kind == "terms":
                terms = self.on_demand.of_today(Terms.read(row.clear))
                if self.on_demand.forgets(terms, named.get(row.id)):
                    self.origin.forget(terms.destination)
                else:
                    self.origin.loaded(terms)
                self.stores.found(terms.destination)  # its store may never have come
            elif row.kind == "peer":
                self.stores.found(row.id.decode())
            elif row.kind == "start":
                self.serials.loaded(row)
        self.commit([self.serials.begin()], self._serials_begun)
        self.neighbours.subscribe()
        self.tell(self.neighbours.here("router"), peers.Subscribe())
        self.tell(self.neighbours.here("intent"), sessions.AskPermits())
        self.go_on(TICK_S, Tick())

    def _serials_begun(self) -> None:
        """What is signed from now on is newer than what was signed in any life before."""
        self.serials.begun()
        self.signalling.set_up_all()

    def network_changed(self) -> None:
        """Once it is known who is who: have the distant stores again, and the sessions."""
        self.transit.network_changed()
        self.refreshing.network_changed()
        for peer in self.stores.now_linked():
            self.origin.now_linked(peer)
        self.stores.start_found()
        self.signalling.set_up_all()

    def peer_up(self, peer: str) -> None:
        """A neighbour is there (again)."""
        self.origin.peer_up(peer)

    def peer_down(self, peer: str) -> None:
        """A neighbour is away."""
        self.transit.peer_down(peer)

    def level_changed(self, level: routes.LinkLevel, *, usable_now: bool) -> None:
        """A link that has just come into step may be the one that a session waits for."""
        if usable_now:
            self.signalling.set_up_all()

    def store_ready(self, peer: str) -> None:
        """A distant peer has a key store here now."""
        self.origin.store_ready(peer)

    def own_share_lost(self, state: HopState, code: str, node: str) -> None:
        """A share of a session that begins here cannot go on."""
        self.origin.share_lost(state, code, node)

    def far_end_opened(self, origin: str) -> None:
        """A share of a session from there ends here now."""
        self.origin.far_end_opened(origin)

    def far_end_closed(self, origin: str) -> None:
        """A share of a session from there ended here, and is over."""
        self.origin.far_end_closed(origin)

    @handles(Tick)
    def tick(self, _: Tick) -> None:
        """Expire what others do not refresh, refresh what is ours."""
        if self.sender != self.address:
            return
        self.go_on(TICK_S, Tick())
        self.transit.expire()
        now = self.system.now()
        if now - self._refreshed_at >= self._refresh_s:
            self._refreshed_at = now
            self.origin.refresh()
            self.on_demand.look_for_idle()
        self.origin.reoptimize()
        meter, standing = self.system.meter, self._standing()
        meter.set("protokms_sessions", len(self.own))
        meter.set("protokms_sessions_established", standing)
        meter.set("protokms_lanes", len(self.hops))
        peers_used = Use("max_distant_peers", self.stores.taken, self._most_peers)
        for use in (*self.room.uses(), peers_used):
            meter.set("protokms_places_used", use.used, limit=use.limit)
            meter.set("protokms_places_limit", use.most, limit=use.limit)

    def _standing(self) -> int:
        return sum(session.state == ESTABLISHED for session in self.own)

    @handles(Health)
    def health(self, _: Health) -> Healthy:
        """Ready whenever it answers; sessions that do not stand are facts."""
        waiting = [it for it in self.own if it.state != ESTABLISHED]
        facts = [
            ("sessions", str(len(self.own))),
            ("established", str(len(self.own) - len(waiting))),
            ("lanes", str(len(self.hops))),
            ("distant_peers", str(len(self.stores))),
            *((f"session/{it.destination}", f"{it.state}: {it.why}") for it in waiting[:32]),
        ]
        return Healthy(ready=True, reasons=(), facts=tuple(facts))
