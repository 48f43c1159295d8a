"""Sessions as their origin drives them: tried again, refreshed, led another way."""

from functools import partial

from actors.base import System, handles
from actors.course import ESTABLISHED, Course
from actors.crossing import TICK_S, Tick
from actors.distant import SessionOptions
from actors.protocol import routes
from actors.protocol.common import Failed
from actors.protocol.relay import SessionId
from actors.protocol.sessions import KeyTransportSessionReply
from actors.setting_up import ANSWER_S, PATHS_S, Retry, SettingUp, refusal_of
from actors.terms import Lane
from transport.message import Message

BETTER_S = 10.0
MISSES_MAX = 3
_MAY_CHANGE = frozenset({"no_route", "not_enough_bits", "not_enough_disjoint_paths"})
"""Refusals that news of the network may have undone."""


class Origin(SettingUp):
    """Drives the courses of the sessions that begin here."""

    def __init__(self, system: System, name: str, options: SessionOptions) -> None:
        super().__init__(system, name, options)
        self._refreshed = 0.0

    @handles(Retry)
    def retry(self, due: Retry) -> None:
        """The pause is over."""
        course = self.courses.get(due.destination)
        if course and course.turn == due.turn and self.sender == self.address:
            self.attempt(course)

    # As long as it stands

    @handles(Tick)
    def tick(self, _: Tick) -> None:
        """Expire what others do not refresh, refresh what is ours."""
        if self.sender != self.address:
            return
        self.go_on(TICK_S, Tick())
        now = self.system.now()
        self.expire(now)
        if now - self._refreshed >= self.options.refresh_s:
            self._refreshed = now
            for course in self.courses.values():
                if course.established:
                    self._refresh(course)
            self.look_for_idle(now)
        for course in self.courses.values():
            if course.established:
                self._look_for_better(course)
        standing = sum(course.state == ESTABLISHED for course in self.courses.values())
        self.system.meter.set("protokms_sessions", len(self.courses))
        self.system.meter.set("protokms_sessions_established", standing)
        self.system.meter.set("protokms_lanes", len(self.lanes))

    def look_for_idle(self, now: float) -> None:
        """From time to time: who makes sessions on demand ends them, too."""

    def _refresh(self, course: Course) -> None:
        assert course.session, "it stands"
        course.serial += 1
        self.tell_marks(course)
        for share, path in enumerate(course.paths):
            then = partial(self._refreshed_share, course, course.session, share)
            self.ask_sessions(path[1], self.signed(course, share), then, ANSWER_S)

    def _refreshed_share(
        self, course: Course, session: SessionId, share: int, reply: Message
    ) -> None:
        if course.session != session:
            return
        if isinstance(reply, KeyTransportSessionReply) and reply.established:
            course.missed[share] = 0
            return
        course.missed[share] = course.missed.get(share, 0) + 1
        lost = isinstance(reply, Failed) and reply.code == "timeout"
        if not lost or course.missed[share] >= MISSES_MAX:
            code, node = refusal_of(course.paths[share], self.system.node, reply)
            self._break(course, share, code, node)

    def on_lost(self, lane: Lane, code: str, node: str) -> None:
        """One of our lanes cannot go on: none of them does, and another way is looked for."""
        course = self.courses.get(lane.path[-1])
        if course and course.session == lane.session and not course.trying:
            self._break(course, lane.share, code, node)

    def _break(self, course: Course, share: int, code: str, node: str) -> None:
        path = course.paths[share]
        self.log.warning("session_lost", to=path[-1], code=code, node=node)
        self.system.meter.add("protokms_session_reroutes", reason=code)
        if not course.terms.fixed:
            course.scar(path, code, node, self.system.now())
        self.close_course(course)
        course.state, course.why = code, f"refused by {node}"
        self.attempt(course)

    # The network changes

    @handles(routes.RoutesChanged)
    def routes_changed(self, _: routes.RoutesChanged) -> None:
        """Try what does not stand, and look whether there are clearly better paths for the rest."""
        for course in self.courses.values():
            if not course.session and course.state in _MAY_CHANGE:
                self.attempt(course)
            course.curious = not course.terms.fixed

    def _look_for_better(self, course: Course) -> None:
        """Look once after news of the network, and not all the time."""
        session, now = course.session, self.system.now()
        if not course.curious or now - course.looked < BETTER_S:
            return
        course.looked, course.curious = now, False

        def found(reply: Message) -> None:
            if course.session != session or not course.established:
                return
            paths = reply.paths if isinstance(reply, routes.Paths) else ()
            if len(paths) < course.terms.n or set(paths) == set(course.paths):
                return
            course.carry(self.system.now())
            if len(paths) == 1 or course.arrange(paths, self.system.now()):
                self.system.meter.add("protokms_session_reroutes", reason="better")
                self.close_course(course)
                self.attempt(course)

        ask = self.paths_for(course, careful=True, keep=course.paths)
        self.ask(self.here("router"), ask, found, PATHS_S)

    def peer_came(self, peer: str) -> None:
        """A neighbour is there again: perhaps it is the way."""
        if peer in self.linked:
            for course in self.courses.values():
                course.failures = 0

    def level_changed(self, level: routes.LinkLevel, *, came: bool) -> None:
        """A link that has just come into step may be the one that a session waits for."""
        if came:
            self.try_all()

    def store_came(self, peer: str) -> None:
        """After a start: the store that a session fills is there."""
        course = self.courses.get(peer)
        if course:
            self.attempt(course)

    def far_end_opened(self, origin: str) -> None:
        """Both ends fill because SAEs at both have asked: the one with the lower name will do."""
        course = self.courses.get(origin)
        if course and course.terms.sae and course.session and origin < self.system.node:
            self.close_course(course)
            self.attempt(course)

    def far_end_closed(self, origin: str) -> None:
        """What the other end has filled is ours to fill now, if somebody here wants keys."""
        course = self.courses.get(origin)
        if course and not course.session:
            self.attempt(course)
