"""Sessions on demand: what an SAE here may have made for it, and when that ends."""

from dataclasses import replace
from functools import partial

from actors.base import Commit, Context, Later, Part, handles
from actors.network.neighbours import Neighbours
from actors.protocol import links, sessions
from actors.protocol.common import Failed, Refused
from actors.sessions.distant_stores import DistantStores
from actors.sessions.options import SessionOptions
from actors.sessions.origin import Origin
from actors.sessions.session import ESTABLISHED, OriginSession, OwnSessions
from actors.sessions.signalling import PATHS_S
from actors.sessions.terms import HopTable, Named, Terms
from transport.message import Message

NAMED_STEPS = 168
"""So often in `named_s` it is noted that a pair goes on being named: each hour of a week."""


class OnDemand(Part):
    """Decides which sessions are made for SAEs here, and ends those of no use."""

    def __init__(
        self,
        context: Context,
        *,
        neighbours: Neighbours,
        stores: DistantStores,
        origin: Origin,
        own: OwnSessions,
        hops: HopTable,
        options: SessionOptions,
        commit: Commit,
    ) -> None:
        self._context, self._neighbours, self._stores = context, neighbours, stores
        self._origin, self._own, self._hops = origin, own, hops
        self._options, self._commit = options, commit

    def of_today(self, terms: Terms) -> Terms:
        """Hold a session on demand to the policy of today, not of the day it was made."""
        made = replace(terms, n=self._options.paths, weight=self._options.weight)
        return made if terms.sae else terms

    def forgets(self, terms: Terms, named: Named | None) -> bool:
        """Whether a session of before the start was for a pair that nobody has named for long."""
        clock, named_s = self._context.clock, self._options.named_s
        return bool(terms.sae and named and named.is_old(clock.boot, clock.now, named_s))

    def _remember(self, session: OriginSession) -> None:
        """Let the disk know when the pair was last named: now and then, for it counts in days."""
        step = self._options.named_s / NAMED_STEPS
        if session.terms.sae and session.wanted_at - session.named_at >= step:
            session.named_at = session.wanted_at
            boot = self._context.clock.boot
            self._commit([Named(session.destination, boot, session.named_at).row()], lambda: None)

    @handles(sessions.EnsureSession)
    def on_ensure(self, ask: sessions.EnsureSession) -> Later | sessions.SessionEnsured:
        """Have a store for a peer, and somebody who fills it; an SAE here wants keys."""
        peer, me, near = ask.peer, self._context.system.node, self._neighbours
        if peer not in near.public:
            raise Refused("no_such_peer", peer)
        if peer == me or peer in near.linked:
            return sessions.SessionEnsured()
        if session := self._own.to(peer):
            session.wanted_at = self._context.system.now()
            self._remember(session)
        stored, filled = peer in self._stores, peer in self._own or self._hops.ends_here(peer)
        if stored and filled:
            return self._as_it_is(peer)
        no = "" if filled else self._no_more(ask.sae) and self._no_more_but(ask.sae)
        limit = no if no in sessions.OWN_LIMITS else ""
        code = sessions.TOO_MANY if limit else "not_allowed"
        if stored and no:
            return sessions.SessionEnsured(code=code, node=me, limit=limit)
        if no:
            raise Refused(code, no)
        if self._stores.no_store(peer):
            raise Refused(sessions.TOO_MANY, "max_distant_peers")
        answer = self._context.later()

        def there(code: str) -> None:
            why = f"{me}: its key store does not start"
            answer(Failed(code="not_ready", why=why) if code else sessions.SessionEnsured())

        if not filled:
            n, weight = self._options.paths, self._options.weight
            self._origin.keep(Terms(destination=peer, n=n, weight=weight, sae=ask.sae), None)
            if session := self._own.to(peer):
                self._remember(session)
        self._stores.have_store(peer, there)
        return answer

    def _as_it_is(self, peer: str) -> sessions.SessionEnsured:
        """Tell why the session with a peer does not stand, if it was tried."""
        session = self._own.to(peer)
        if session is None or session.established or not session.failures:
            return sessions.SessionEnsured()
        code = session.state
        if code not in sessions.CODES or self._hops.ends_here(peer):
            return sessions.SessionEnsured()
        limit = sessions.LIMITS.get(code, "")
        return sessions.SessionEnsured(code=code, node=session.refused_by, limit=limit)

    def _no_more(self, sae: str) -> str:
        """Tell which limit lets no session be made on demand for this SAE, or nothing."""
        if not self._options.on_demand:
            return "sessions on demand are switched off"
        made = len(self._own.made_for(sae))
        if made >= self._options.max_sessions_per_sae:
            return "max_sessions_per_sae"
        full = len(self._own) >= self._options.max_sessions
        return "max_sessions" if full else ""

    def _no_more_but(self, sae: str) -> str:
        """Give up a session on demand that does not stand, for one that may; or tell why not.

        One of the same SAE, so that none makes room for itself at the cost of others.
        """
        made = self._own.made_for(sae)
        vain = [it.destination for it in made if it.state != ESTABLISHED and not it.trying]
        if self._options.on_demand and vain:
            self._context.log.info("session_given_up", to=vain[0], sae=sae)
            self._origin.remove(vain[0], lambda: None)
        return self._no_more(sae)

    def look_for_idle(self) -> None:
        """Ask the stores of sessions on demand that nobody has asked for lately."""
        for session in self._own:
            if self._is_idle(session):
                store = self._neighbours.here(f"key_store/{session.destination}")
                then = partial(self._used, session)
                self._context.ask(store, links.AskUse(), then, PATHS_S)

    def _used(self, session: OriginSession, reply: Message) -> None:
        """End a session on demand that is of no use any more; a fresh request makes it again."""
        to = session.destination
        if self._own.to(to) is not session or not isinstance(reply, links.Used):
            return
        used_at = self._context.system.now() - reply.idle_s
        session.wanted_at = max(session.wanted_at, used_at)
        self._remember(session)
        if self._is_idle(session):
            self._context.log.info("session_idle", to=to, sae=session.terms.sae)
            self._origin.remove(to, lambda: None)

    def _is_idle(self, session: OriginSession) -> bool:
        now = self._context.system.now()
        return bool(session.terms.sae) and now - session.wanted_at >= self._options.idle_session_s
