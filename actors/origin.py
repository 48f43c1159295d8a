"""Sessions as their origin drives them: set up, refreshed, led another way (R14)."""

from dataclasses import dataclass, replace
from functools import partial

from actors.base import System, handles
from actors.course import BACK_OFF_MAX_S, BACK_OFF_S, ESTABLISHED, Course
from actors.crossing import TICK_S, Crossing, SessionOptions, Tick
from actors.protocol import links, routes, sessions
from actors.protocol.common import Failed
from actors.protocol.relay import SessionId
from actors.protocol.sessions import KeyTransportSession, KeyTransportSessionReply
from actors.signing import Signer, session_text
from actors.terms import Lane, Path, blame
from transport.envelope import Address
from transport.message import Message, local

ANSWER_S = 5.0
PATHS_S = 2.0
BETTER_S = 10.0
MISSES_MAX = 3
_MAY_CHANGE = frozenset({"no_route", "not_enough_bits", "not_enough_disjoint_paths"})
"""Refusals that news of the network may have undone."""


@local
class Retry(Message):
    """Time to try a session again; `turn` tells one that has been overtaken."""

    destination: str
    turn: int


@dataclass(slots=True)
class Attempt:
    """What came back of an establishment so far: the shares that stand, and the first refusal."""

    open: int
    code: str = ""
    node: str = ""
    share: int = 0


class Origin(Crossing):
    """Drives the courses of the sessions that begin here."""

    def __init__(self, system: System, name: str, options: SessionOptions) -> None:
        super().__init__(system, name, options)
        self._signer = Signer(options.signing)
        self.courses: dict[str, Course] = {}
        self._refreshed = 0.0

    # Setting up

    def try_all(self) -> None:
        """Try whatever does not stand."""
        for course in self.courses.values():
            self.attempt(course)

    def attempt(self, course: Course) -> None:
        """Look for paths, unless that is under way, done, or done by the other end."""
        to = course.terms.destination
        if not self.briefed or course.trying or course.session or to not in self.stores:
            return
        if course.terms.sae and to < self.system.node and self.fills(to):
            course.state, course.why = ESTABLISHED, f"filled by the session that begins at {to}"
            return
        course.trying = True
        course.turn += 1
        if course.terms.fixed:
            self._establish(course, course.terms.paths)
        else:
            self._find(course, careful=True)

    def _find(self, course: Course, *, careful: bool) -> None:
        then = partial(self._found_paths, course, course.turn, careful)
        self.ask(self.here("router"), self._paths_for(course, careful=careful), then, PATHS_S)

    def _paths_for(
        self, course: Course, *, careful: bool, keep: tuple[Path, ...] = ()
    ) -> routes.FindPaths:
        """Ask for paths; careful: none over what has failed just now."""
        now, terms = self.system.now(), course.terms
        shunned, broken = (course.shunned(now), course.broken(now)) if careful else ((), ())
        return routes.FindPaths(
            to=terms.destination, n=terms.n, avoid=shunned, broken=broken, keep=keep
        )

    def _found_paths(self, course: Course, turn: int, careful: bool, reply: Message) -> None:
        if turn != course.turn:
            return
        paths = reply.paths if isinstance(reply, routes.Paths) else ()
        n, now = course.terms.n, self.system.now()
        if len(paths) < n and careful and (course.broken(now) or course.shunned(now)):
            self._find(
                course, careful=False
            )  # what has failed may be whole again: it is all we have
            return
        if len(paths) < n:
            code = "not_enough_disjoint_paths" if paths else "no_route"
            self.refused(course, code, self.system.node, ())
        elif n == 1:
            self._establish(course, paths)
        elif arranged := course.arrange(paths, self.system.now()):
            self._establish(course, arranged)
        else:  # disjoint, but not from nodes that carried another share (R14)
            self.refused(course, "not_enough_disjoint_paths", self.system.node, ())

    def _establish(self, course: Course, paths: tuple[Path, ...]) -> None:
        number = int.from_bytes(self.system.random(8), "big") >> 1
        session = SessionId(self.system.node, number)
        course.session, course.paths, course.serial = session, paths, 1
        course.missed = {}
        attempt = Attempt(open=len(paths))
        for share, path in enumerate(paths):
            after = path[1]
            if not self.usable(after):
                self._heard(course, session, attempt, share, Failed(code="no_route", why=after))
                continue
            then = partial(self._heard, course, session, attempt, share)
            ask = self._signed(course, share)
            self.ask(Address("sessions", after), ask, then, ANSWER_S)

    def _signed(self, course: Course, share: int) -> KeyTransportSession:
        assert course.session, "it is being set up, or stands"
        path = course.paths[share]
        bare = KeyTransportSession(
            session=course.session,
            share=share,
            shares=len(course.paths),
            path=path,
            weight=course.terms.weight,
            serial=course.serial,
            signature=b"",
            hop=1,
            wait=ANSWER_S * (len(path) - 1) / len(path),
        )
        return replace(bare, signature=self._signer.sign(session_text(bare)))

    def _heard(
        self, course: Course, session: SessionId, attempt: Attempt, share: int, reply: Message
    ) -> None:
        """Take the answer for one share; when all are in, the session stands or not."""
        if course.session != session:
            return
        attempt.open -= 1
        path = course.paths[share]
        if not (isinstance(reply, KeyTransportSessionReply) and reply.established):
            code, node = _refusal(path, self.system.node, reply)
            if not attempt.code:
                attempt.code, attempt.node, attempt.share = code, node, share
        if attempt.open:
            return
        if attempt.code:
            path = course.paths[attempt.share]
            self._say_all_ended(course)
            course.session = None
            self.refused(course, attempt.code, attempt.node, path)
        else:
            self._stands(course)

    def _stands(self, course: Course) -> None:
        assert course.session, "all its shares were answered"
        course.trying, course.failures = False, 0
        course.state, course.why = ESTABLISHED, ""
        course.looked = self.system.now()
        for share, path in enumerate(course.paths):
            ends = float("inf")
            what = course.session, share, len(course.paths), path, 0, course.terms.weight
            self.open(Lane(*what, course.serial, ends))
        self._tell_marks(course)
        self.log.info("session", to=course.terms.destination, paths=course.paths)
        self._answer(course)

    def _answer(self, course: Course) -> None:
        answers, course.answers = course.answers, []
        for answer in answers:
            if course.established:
                answer(sessions.SessionAdded(session=course.seen()))
            else:
                answer(Failed(code=course.state, why=course.why))

    def refused(self, course: Course, code: str, node: str, path: Path) -> None:
        """It does not stand: say why, and try again later, with growing pauses."""
        now = self.system.now()
        if path and not course.terms.fixed:
            course.scar(path, code, node, now)
        course.trying, course.session = False, None
        course.state, course.why = code, f"refused by {node}"
        course.turn += 1
        wait = min(BACK_OFF_MAX_S, BACK_OFF_S * 2.0**course.failures)
        course.failures = min(course.failures + 1, 10)
        jitter = 0.75 + int.from_bytes(self.system.random(2), "big") / (1 << 17)
        self.remind(wait * jitter, Retry(destination=course.terms.destination, turn=course.turn))
        self.system.meter.add("protokms_session_failures", reason=code)
        self._answer(course)

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
        self.remind(TICK_S, Tick())
        now = self.system.now()
        self.expire(now)
        if now - self._refreshed >= self.options.refresh_s:
            self._refreshed = now
            for course in self.courses.values():
                if course.established:
                    self._refresh(course)
        for course in self.courses.values():
            if course.established:
                self._look_for_better(course)
        standing = sum(course.state == ESTABLISHED for course in self.courses.values())
        self.system.meter.set("protokms_sessions", len(self.courses))
        self.system.meter.set("protokms_sessions_established", standing)
        self.system.meter.set("protokms_lanes", len(self.lanes))

    def _refresh(self, course: Course) -> None:
        assert course.session, "it stands"
        course.serial += 1
        self._tell_marks(course)
        for share, path in enumerate(course.paths):
            then = partial(self._refreshed_share, course, course.session, share)
            self.ask(Address("sessions", path[1]), self._signed(course, share), then, ANSWER_S)

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
            code, node = _refusal(course.paths[share], self.system.node, reply)
            self._break(course, share, code, node)

    def _tell_marks(self, course: Course) -> None:
        terms = course.terms
        marks = links.Marks(low_bits=terms.low_bits, high_bits=terms.high_bits)
        self.tell(self.here(f"key_store/{terms.destination}"), marks)

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

    def close_course(self, course: Course) -> None:
        """End an establishment: what is undecided is withdrawn before anything else begins."""
        if course.session is None:
            return
        course.carry(self.system.now())
        for share in range(len(course.paths)):
            lane = self.lanes.get((course.session, share))
            if lane:
                self.close(lane)
        self._say_all_ended(course)
        course.session, course.trying = None, False

    def _say_all_ended(self, course: Course) -> None:
        for share, path in enumerate(course.paths):
            if course.session and path[1] in self.up:
                ended = sessions.SessionEnded(session=course.session, share=share)
                self.tell(Address("sessions", path[1]), ended)

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

        ask = self._paths_for(course, careful=True, keep=course.paths)
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


def _refusal(path: Path, me: str, reply: Message) -> tuple[str, str]:
    """Return code and culprit of what is no agreement."""
    if not isinstance(reply, KeyTransportSessionReply):
        return "no_route", me
    return blame(path, 0, reply.code, reply.node)
