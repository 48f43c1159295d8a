"""Setting a session up, over every one of its paths, and ending what was set up (R14)."""

from dataclasses import dataclass, replace
from functools import partial
from math import ceil

from actors.base import System, handles
from actors.course import BACK_OFF_MAX_S, BACK_OFF_S, ESTABLISHED, Course
from actors.crossing import Crossing
from actors.distant import SessionOptions
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


class SettingUp(Crossing):
    """Takes courses from "not yet" to "stands", and back."""

    def __init__(self, system: System, name: str, options: SessionOptions) -> None:
        super().__init__(system, name, options)
        self._signer = Signer(options.signing)
        self.courses: dict[str, Course] = {}

    def least_shares(self, peer: str) -> int:
        """Who splits keys over several paths takes none that a single node may know (R14)."""
        course = self.courses.get(peer)
        return course.terms.n if course else self.options.paths

    def tell_paths(self, peer: str) -> None:
        """Let a store know over how many paths its bits must have come (R14)."""
        self.tell(self.here(f"key_store/{peer}"), links.LeastPaths(n=self.least_shares(peer)))

    @handles(links.AskLeastPaths)
    def on_ask_paths(self, ask: links.AskLeastPaths) -> None:
        """A store has started, perhaps after a crash of its own."""
        if self.sender == self.here(f"key_store/{ask.peer}"):
            self.tell_paths(ask.peer)

    def try_all(self) -> None:
        """Try whatever does not stand."""
        for course in self.courses.values():
            self.attempt(course)

    def attempt(self, course: Course) -> None:
        """Look for paths, unless that is under way, done, or done by the other end."""
        to = course.terms.destination
        if not self.briefed or course.trying or course.session or to not in self.stores:
            return
        self.tell_paths(to)
        if course.terms.sae and to < self.system.node and self.fills(to):
            course.state, course.why = ESTABLISHED, f"filled by the session that begins at {to}"
            return
        course.trying = True
        course.turn += 1
        if course.terms.fixed:
            self._arrange(course, course.terms.paths)
        else:
            self._find(course, careful=True)

    def _find(self, course: Course, *, careful: bool) -> None:
        then = partial(self._found_paths, course, course.turn, careful)
        self.ask(self.here("router"), self.paths_for(course, careful=careful), then, PATHS_S)

    def paths_for(
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
            self._find(course, careful=False)  # what has failed may be whole again, and is all
            return
        if len(paths) < n:
            code = "not_enough_disjoint_paths" if paths else "no_route"
            self.refused(course, code, self.system.node, ())
        else:
            self._arrange(course, paths)

    def _arrange(self, course: Course, paths: tuple[Path, ...]) -> None:
        """Let every node carry the share that it has carried lately, if any (R14)."""
        now = self.system.now()
        if arranged := course.arrange(paths, now) if len(paths) > 1 else paths:
            self._establish(course, arranged)
        else:  # disjoint, but not from nodes that carried another share
            node, until = course.hindrance(paths)
            why = f": {node} carried another share, which counts for {ceil(until - now)} s more"
            why += "; it is tried again by itself"
            self.refused(course, "not_enough_disjoint_paths", self.system.node, (), why)

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
            ask = self.signed(course, share)
            self.ask_sessions(after, ask, then, ANSWER_S)

    def signed(self, course: Course, share: int) -> KeyTransportSession:
        """Say, in our name, that this share is wanted; for the first hop."""
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
            code, node = refusal_of(path, self.system.node, reply)
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
        self.tell_marks(course)
        self.log.info("session", to=course.terms.destination, paths=course.paths)
        self._answer(course)

    def _answer(self, course: Course) -> None:
        answers, course.answers = course.answers, []
        for answer in answers:
            if course.established:
                answer(sessions.SessionAdded(session=course.seen()))
            else:
                answer(Failed(code=course.state, why=course.why))

    def refused(self, course: Course, code: str, node: str, path: Path, why: str = "") -> None:
        """It does not stand: say why, and try again later, with growing pauses."""
        now = self.system.now()
        if path and not course.terms.fixed:
            course.scar(path, code, node, now)
        course.trying, course.session = False, None
        course.state, course.why = code, f"refused by {node}{why}"
        course.turn += 1
        wait = min(BACK_OFF_MAX_S, BACK_OFF_S * 2.0**course.failures)
        course.failures = min(course.failures + 1, 10)
        jitter = 0.75 + int.from_bytes(self.system.random(2), "big") / (1 << 17)
        self.remind(wait * jitter, Retry(destination=course.terms.destination, turn=course.turn))
        self.system.meter.add("protokms_session_failures", reason=code)
        self._answer(course)

    def tell_marks(self, course: Course) -> None:
        """Let the store know how much it is to hold."""
        terms = course.terms
        marks = links.Marks(low_bits=terms.low_bits, high_bits=terms.high_bits)
        self.tell(self.here(f"key_store/{terms.destination}"), marks)

    def close_course(self, course: Course) -> None:
        """End an establishment: what is undecided is withdrawn before anything else begins."""
        course.turn += 1  # whatever is under way is overtaken
        course.trying = False
        if course.session is None:
            return
        course.carry(self.system.now())
        for share in range(len(course.paths)):
            lane = self.lanes.get((course.session, share))
            if lane:
                self.close(lane)
        self._say_all_ended(course)
        course.session = None

    def _say_all_ended(self, course: Course) -> None:
        for share, path in enumerate(course.paths):
            if course.session and path[1] in self.up:
                ended = sessions.SessionEnded(session=course.session, share=share)
                self.tell(Address("sessions", path[1]), ended)


def refusal_of(path: Path, me: str, reply: Message) -> tuple[str, str]:
    """Return code and culprit of what is no agreement."""
    if not isinstance(reply, KeyTransportSessionReply):
        return "no_route", me
    return blame(path, 0, reply.code, reply.node)
