"""Sessions that begin here: kept as asked for, refreshed, re-routed, re-optimized."""

from collections.abc import Callable
from functools import partial
from math import inf

from actors.base import Commit, Context, Drop, Later, Part, handles
from actors.network.neighbours import Neighbours
from actors.protocol import routes, sessions
from actors.protocol.common import Failed, Refused
from actors.protocol.relay import SessionId
from actors.protocol.sessions import LIMITS, Refresh
from actors.sessions.distant_stores import DistantStores
from actors.sessions.options import SessionOptions
from actors.sessions.refresh import Refreshing
from actors.sessions.session import ESTABLISHED, OriginSession, OwnSessions
from actors.sessions.signalling import PATHS_S, Signalling, is_agreed, refusal_of
from actors.sessions.terms import STORE, HopKey, HopState, HopTable, Terms, terms_of
from transport.message import Message

REOPTIMIZE_S = 10.0
"""Seconds between two looks for better paths, at least."""

MARKS_S = 60.0
"""Seconds after which a store is told anew how much it is to hold, when nothing has changed."""
MISSES_MAX = 3
_MAY_CHANGE = frozenset({"no_route", "not_enough_bits", "not_enough_disjoint_paths", *LIMITS})
"""Refusals that news of the network may have undone."""


class Origin(Part):
    """Keeps the own sessions, durably, and drives them as long as they are wanted."""

    def __init__(
        self,
        context: Context,
        *,
        neighbours: Neighbours,
        stores: DistantStores,
        signalling: Signalling,
        refreshing: Refreshing,
        own: OwnSessions,
        hops: HopTable,
        options: SessionOptions,
        commit: Commit,
    ) -> None:
        self._context, self._neighbours, self._stores = context, neighbours, stores
        self._signalling, self._refreshing = signalling, refreshing
        self._own, self._hops = own, hops
        self._options, self._commit = options, commit
        self._held_down: dict[str, dict[str, tuple[int, float]]] = {}
        """Of sessions that were removed: which node carried which share, for a while (R14)."""

    # What is asked for here

    @handles(sessions.AddSession)
    def on_add(self, ask: sessions.AddSession) -> Later | sessions.SessionAdded:
        """Keep a session from now on; the answer says whether it stands already, or who refuses."""
        me, near = self._context.system.node, self._neighbours
        terms = terms_of(ask, me, near.public, self._options.paths)
        if terms.destination in near.linked:
            raise Refused("not_allowed", f"{me}: {terms.destination} shares a quantum link with us")
        session = self._own.to(terms.destination)
        if session is None and len(self._own) >= self._options.max_sessions:
            many = f"{len(self._own)} sessions are enough (max_sessions)"
            raise Refused("not_allowed", f"{me}: {many}")
        if self._stores.no_store(terms.destination):
            many = "no room for another distant peer (max_distant_peers)"
            raise Refused("not_allowed", f"{me}: {many}")
        if session and session.terms == terms and session.state == ESTABLISHED:
            return sessions.SessionAdded(session=session.seen())
        answer = self._context.later()
        self.keep(terms, answer)
        return answer

    @handles(sessions.RemoveSession)
    def on_remove(self, ask: sessions.RemoveSession) -> Later | sessions.SessionRemoved:
        """Fill no more; what both ends hold stays."""
        if ask.destination not in self._own:
            return sessions.SessionRemoved()
        answer = self._context.later()
        self.remove(ask.destination, lambda: answer(sessions.SessionRemoved()))
        return answer

    @handles(sessions.ListSessions)
    def on_list(self, _: sessions.ListSessions) -> sessions.Sessions:
        """Say how each is."""
        seen = tuple(it.seen() for it in sorted(self._own, key=lambda it: it.destination))
        return sessions.Sessions(
            sessions=seen, crossing=self._hops.in_transit(), stores=self._stores.peers
        )

    def loaded(self, terms: Terms) -> None:
        """Have a session that is durable; it is set up once its store is there."""
        self._own.add(OriginSession(terms, wanted_at=self._context.system.now()))

    def keep(self, terms: Terms, answer: Later | None) -> None:
        """Make it durable, have a store for it, and set it up."""
        session = self._own.to(terms.destination)
        if session and session.terms != terms:
            self._signalling.tear_down(session)
            session.terms, session.paths, session.failures = terms, (), 0
        elif session is None:
            held_down = self._held_down.pop(terms.destination, {})
            now = self._context.system.now()
            session = OriginSession(terms, wanted_at=now, held_down=held_down)
            self._own.add(session)
        if answer:
            session.answers.append(answer)
        kept = session

        def stored(no: str) -> None:
            if self._own.to(terms.destination) is not kept:
                return  # it was removed meanwhile
            if no:
                self._signalling.refused(kept, no, self._context.system.node, ())
            else:
                self._signalling.set_up(kept)

        row = terms.row()
        self._commit([row], lambda: self._stores.have_store(terms.destination, stored))

    def remove(self, destination: str, then: Callable[[], None]) -> None:
        """End it and forget it; `then` runs once that is durable."""
        session = self._own.remove(destination)
        self._signalling.tear_down(session)
        self._held_down[destination] = session.held_down
        if destination in self._stores:
            self._signalling.tell_least_paths(destination)
        me = self._context.system.node
        for waiting in session.answers:
            waiting(Failed(code="not_allowed", why=f"{me}: it was removed meanwhile"))
        self.forget(destination, then)

    def forget(self, destination: str, then: Callable[[], None] = lambda: None) -> None:
        """Let the disk forget a session; `then` runs once it has."""
        id_ = destination.encode()
        self._commit([Drop(STORE, "terms", id_), Drop(STORE, "named", id_)], then)

    # As long as it stands

    def refresh(self) -> None:
        """Refresh the soft state of what is established, at every hop."""
        now, named = self._context.system.now(), dict[str, list[HopKey]]()
        for session in self._own:
            if not session.established:
                continue
            if now - session.marks_at >= MARKS_S:
                self._signalling.tell_water_marks(session)
            for share, path in enumerate(session.paths):
                self._refresh(session, share, named.setdefault(path[1], []))
        self._refreshing.say_own({peer: keys for peer, keys in named.items() if keys})

    def _refresh(self, session: OriginSession, share: int, named: list[HopKey]) -> None:
        """Name a share with all others over its link; by itself, if a node does not know how."""
        assert session.id, "it stands"
        after = session.paths[share][1]
        if share in session.together and self._neighbours.speaks(after, Refresh):
            named.append((session.id, share))
        else:
            then = partial(self._refreshed, session, session.id, share)
            self._signalling.ask_share(session, share, then)

    def _refreshed(
        self, session: OriginSession, made: SessionId, share: int, reply: Message
    ) -> None:
        if session.id != made:
            return
        if is_agreed(reply):
            session.missed[share] = 0
            return
        session.missed[share] = session.missed.get(share, 0) + 1
        lost = isinstance(reply, Failed) and reply.code == "timeout"
        if not lost or session.missed[share] >= MISSES_MAX:
            code, node = refusal_of(session.paths[share], self._context.system.node, reply)
            self._reroute(session, share, code, node)

    def share_lost(self, state: HopState, code: str, node: str) -> None:
        """One of our shares cannot go on: none of them does, and another way is looked for."""
        session = self._own.to(state.path[-1])
        if session and session.id == state.session and not session.trying:
            self._reroute(session, state.share, code, node)

    def _reroute(self, session: OriginSession, share: int, code: str, node: str) -> None:
        path = session.paths[share]
        self._context.log.warning("session_lost", to=path[-1], code=code, node=node)
        self._context.system.meter.add("protokms_session_reroutes", reason=code)
        if not session.terms.fixed:
            session.exclude(path, code, node, self._context.system.now())
        self._signalling.tear_down(session)
        session.state, session.why = code, f"refused by {node}"
        self._signalling.set_up(session)

    # The network changes

    @handles(routes.RoutesChanged)
    def on_routes_changed(self, _: routes.RoutesChanged) -> None:
        """Set up what does not stand; the rest may find clearly better paths."""
        for session in self._own:
            if not session.id and session.state in _MAY_CHANGE:
                self._signalling.set_up(session)
            session.reoptimize_pending = not session.terms.fixed
            session.marks_at = -inf  # the rate of its paths may be another

    def reoptimize(self) -> None:
        """Look for better paths, once after news of the network, and not all the time."""
        now = self._context.system.now()
        for session in self._own:
            due = session.reoptimize_pending and now - session.reoptimized_at >= REOPTIMIZE_S
            if session.established and due:
                session.reoptimized_at, session.reoptimize_pending = now, False
                ask = self._signalling.paths_for(session, careful=True, keep=session.paths)
                then = partial(self._found_better, session, session.id)
                self._context.ask(self._neighbours.here("router"), ask, then, PATHS_S)

    def _found_better(self, session: OriginSession, made: SessionId | None, reply: Message) -> None:
        if session.id != made or not session.established:
            return
        paths = reply.paths if isinstance(reply, routes.Paths) else ()
        if len(paths) < session.terms.n or set(paths) == set(session.paths):
            return
        now = self._context.system.now()
        session.hold_down(now)
        if len(paths) == 1 or session.assign_shares(paths, now):
            self._context.system.meter.add("protokms_session_reroutes", reason="better")
            self._signalling.tear_down(session)
            self._signalling.set_up(session)

    def peer_up(self, peer: str) -> None:
        """A neighbour is there again, and perhaps the way: pauses are short again."""
        if peer in self._neighbours.linked:
            for session in self._own:
                session.failures = 0

    def now_linked(self, peer: str) -> None:
        """A quantum link fills that store now: a session does no more."""
        if session := self._own.to(peer):
            self._signalling.tear_down(session)
            if session.terms.sae:
                self.remove(peer, lambda: None)
            else:
                session.state, session.why = "not_allowed", "it shares a quantum link with us"

    def store_ready(self, peer: str) -> None:
        """After a start: the store that a session fills is there."""
        session = self._own.to(peer)
        if session:
            self._signalling.set_up(session)

    def far_end_opened(self, origin: str) -> None:
        """Both ends fill because SAEs at both have asked: one of them will do."""
        session = self._own.to(origin)
        if session and session.id and self._signalling.gives_way(session):
            self._signalling.tear_down(session)
            self._signalling.set_up(session)

    def far_end_closed(self, origin: str) -> None:
        """What the other end has filled is ours to fill now, if somebody here wants keys."""
        session = self._own.to(origin)
        if session and not session.id:
            self._signalling.set_up(session)
