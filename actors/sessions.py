"""Sessions that begin here, as they are asked for; origin drives them, crossing serves others."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from actors.base import Drop, Later, System, handles
from actors.course import ESTABLISHED, Course
from actors.crossing import TICK_S, Tick
from actors.distant import SessionOptions
from actors.origin import Origin
from actors.protocol import links, peers, sessions
from actors.protocol.common import Failed, Health, Healthy, Refused
from actors.setting_up import PATHS_S
from actors.terms import STORE, Terms, terms_of
from transport.message import Message


class SessionManager(Origin):
    """Keeps the sessions asked for here, durably, and makes those that SAEs here need."""

    def __init__(self, system: System, name: str, options: SessionOptions) -> None:
        super().__init__(system, name, options)
        self._found: list[str] = []
        self._carried: dict[str, dict[str, tuple[int, float]]] = {}
        """Of sessions that were removed: which node carried which share, for a while (R14)."""

    def started(self) -> None:
        """Load what is durable; all else is told anew, or comes with the next refresh."""
        for row in self.system.load(STORE):
            if row.kind == "terms":
                terms = self._now(Terms.read(row.clear))
                self.courses[terms.destination] = Course(terms, wanted=self.system.now())
                self._found.append(terms.destination)  # its store may never have come
            elif row.kind == "peer":
                self._found.append(row.id.decode())
        self.watch()
        self.tell(self.here("router"), peers.Subscribe())
        self.go_on(TICK_S, Tick())

    def _now(self, terms: Terms) -> Terms:
        """Hold a session on demand to the policy of today, not of the day it was made."""
        made = replace(terms, n=self.options.paths, weight=self.options.weight)
        return made if terms.sae else terms

    def network_changed(self) -> None:
        """Once it is known who is who: have the distant stores again, and the sessions."""
        super().network_changed()
        if self.briefed and self._found:
            found, self._found = self._found, []
            self.start_stores([it for it in found if it in self.public and it not in self.linked])
        self.try_all()

    # What is asked for here

    @handles(sessions.AddSession)
    def add(self, ask: sessions.AddSession) -> Later | sessions.SessionAdded:
        """Keep a session from now on; the answer says whether it stands already, or who refuses."""
        me = self.system.node
        terms = terms_of(ask, me, self.public, self.options.paths)
        if terms.destination in self.linked:
            raise Refused("not_allowed", f"{me}: {terms.destination} shares a quantum link with us")
        course = self.courses.get(terms.destination)
        if course is None and len(self.courses) >= self.options.max_sessions:
            raise Refused("not_allowed", f"{me}: {len(self.courses)} sessions are enough")
        if self.no_store(terms.destination):
            raise Refused("not_allowed", f"{me}: no room for another distant peer")
        if course and course.terms == terms and course.state == ESTABLISHED:
            return sessions.SessionAdded(session=course.seen())
        answer = self.later()
        self._keep(terms, answer)
        return answer

    def _keep(self, terms: Terms, answer: Later | None) -> None:
        course = self.courses.get(terms.destination)
        if course and course.terms != terms:
            self.close_course(course)
            course.terms, course.paths, course.failures = terms, (), 0
        elif course is None:
            carried = self._carried.pop(terms.destination, {})
            course = Course(terms, wanted=self.system.now(), carried=carried)
            self.courses[terms.destination] = course
        if answer:
            course.answers.append(answer)
        kept = course

        def stored(no: str) -> None:
            if self.courses.get(terms.destination) is not kept:
                return  # it was removed meanwhile
            if no:
                self.refused(kept, no, self.system.node, ())
            else:
                self.attempt(kept)

        row = terms.row()
        self.commit([row], lambda: self.have_store(terms.destination, stored))

    @handles(sessions.RemoveSession)
    def remove(self, ask: sessions.RemoveSession) -> Later | sessions.SessionRemoved:
        """Fill no more; what both ends hold stays."""
        if ask.destination not in self.courses:
            return sessions.SessionRemoved()
        answer = self.later()
        self._drop(ask.destination, lambda: answer(sessions.SessionRemoved()))
        return answer

    def _drop(self, destination: str, then: Callable[[], None]) -> None:
        course = self.courses.pop(destination)
        self.close_course(course)
        self._carried[destination] = course.carried
        if destination in self.stores:
            self.tell_paths(destination)
        for waiting in course.answers:
            waiting(Failed(code="not_allowed", why=f"{self.system.node}: it was removed meanwhile"))
        self.commit([Drop(STORE, "terms", destination.encode())], then)

    @handles(sessions.ListSessions)
    def list_sessions(self, _: sessions.ListSessions) -> sessions.Sessions:
        """Say how each is."""
        seen = tuple(course.seen() for _, course in sorted(self.courses.items()))
        crossing = {lane.session for lane in self.lanes.values() if lane.before and lane.after}
        return sessions.Sessions(sessions=seen, crossing=len(crossing))

    @handles(sessions.EnsureSession)
    def ensure(self, ask: sessions.EnsureSession) -> Later | sessions.SessionEnsured:
        """Have a store for a peer, and somebody who fills it; an SAE here wants keys."""
        peer, me = ask.peer, self.system.node
        if peer not in self.public:
            raise Refused("no_such_peer", peer)
        if peer == me or peer in self.linked:
            return sessions.SessionEnsured()
        if course := self.courses.get(peer):
            course.wanted = self.system.now()
        stored, filled = peer in self.stores, peer in self.courses or self.fills(peer)
        if stored and filled:
            return sessions.SessionEnsured(code=self._why_not(peer))
        no = "" if filled else self._no_more(ask.sae) and self._no_more_but(ask.sae)
        if stored and no:
            return sessions.SessionEnsured(code="not_allowed")
        if no or self.no_store(peer):
            raise Refused("not_allowed", f"{me}: {no or 'no room for another distant peer'}")
        answer = self.later()

        def there(code: str) -> None:
            why = f"{me}: its key store does not start"
            answer(Failed(code=code, why=why) if code else sessions.SessionEnsured())

        if not filled:
            n = self.options.paths
            terms = Terms(destination=peer, n=n, weight=self.options.weight, sae=ask.sae)
            self._keep(terms, None)
        self.have_store(peer, there)
        return answer

    def _why_not(self, peer: str) -> str:
        course = self.courses.get(peer)
        failed = course and course.failures and not course.established and not self.fills(peer)
        return course.state if course and failed and course.state in sessions.CODES else ""

    def _no_more_but(self, sae: str) -> str:
        """Give up a session on demand that does not stand, for one that may; or tell why not.

        One of the same SAE, so that none makes room for itself at the cost of others.
        """
        mine = [it for it in self.courses.values() if it.terms.sae == sae]
        vain = [it.terms.destination for it in mine if it.state != ESTABLISHED and not it.trying]
        if self.options.on_demand and vain:
            self.log.info("session_given_up", to=vain[0], sae=sae)
            self._drop(vain[0], lambda: None)
        return self._no_more(sae)

    def look_for_idle(self, now: float) -> None:
        """Ask the stores of sessions on demand that nobody has asked for lately."""
        for to, course in self.courses.items():
            if course.terms.sae and now - course.wanted >= self.options.idle_s:
                store = self.here(f"key_store/{to}")
                self.ask(store, links.AskUse(), partial(self._used, course), PATHS_S)

    def _used(self, course: Course, reply: Message) -> None:
        """End a session on demand that is of no use any more; a fresh request makes it again."""
        to, now = course.terms.destination, self.system.now()
        if self.courses.get(to) is not course or not isinstance(reply, links.Used):
            return
        course.wanted = max(course.wanted, now - reply.idle_s)
        if course.terms.sae and now - course.wanted >= self.options.idle_s:
            self.log.info("session_idle", to=to, sae=course.terms.sae)
            self._drop(to, lambda: None)

    def _no_more(self, sae: str) -> str:
        """Tell why no session is made on demand for this SAE, or nothing."""
        if not self.options.on_demand:
            return "sessions on demand are switched off"
        mine = sum(course.terms.sae == sae for course in self.courses.values())
        if mine >= self.options.max_sessions_per_sae:
            return f"there are {mine} sessions on demand for this SAE"
        full = len(self.courses) >= self.options.max_sessions
        return f"{len(self.courses)} sessions are enough" if full else ""

    @handles(Health)
    def health(self, _: Health) -> Healthy:
        """Ready whenever it answers; sessions that do not stand are facts."""
        waiting = [it for it in self.courses.values() if it.state != ESTABLISHED]
        facts = [
            ("sessions", str(len(self.courses))),
            ("established", str(len(self.courses) - len(waiting))),
            ("lanes", str(len(self.lanes))),
            ("distant_peers", str(len(self.stores))),
            *((f"session/{it.terms.destination}", f"{it.state}: {it.why}") for it in waiting[:32]),
        ]
        return Healthy(ready=True, reasons=(), facts=tuple(facts))
