"""Setting a session up, over every one of its paths, and tearing it down again (R14)."""

from dataclasses import dataclass, replace
from functools import partial
from math import ceil, inf

from actors.base import Context, Part, Then, handles
from actors.crypto.signatures import Signer, session_text
from actors.network.neighbours import Neighbours
from actors.protocol import links, routes, sessions
from actors.protocol.common import Failed
from actors.protocol.relay import SessionId, undecided_s
from actors.protocol.sessions import KeyTransportSession2, SetUpReply
from actors.sessions.distant_stores import DistantStores
from actors.sessions.serials import Serials
from actors.sessions.session import (
    BACK_OFF_MAX_S,
    BACK_OFF_S,
    ESTABLISHED,
    OriginSession,
    OwnSessions,
)
from actors.sessions.terms import HopState, HopTable, Path, begins, blame
from actors.sessions.transit import Transit, is_together
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
class Replies:
    """What came back of an establishment so far: the first refusal, and how many are to come."""

    missing: int
    code: str = ""
    node: str = ""
    share: int = 0


class Signalling(Part):
    """Takes own sessions from "not yet" to "established", and back."""

    def __init__(
        self,
        context: Context,
        *,
        neighbours: Neighbours,
        stores: DistantStores,
        transit: Transit,
        own: OwnSessions,
        hops: HopTable,
        signer: Signer,
        serials: Serials,
    ) -> None:
        self._context, self._neighbours, self._stores = context, neighbours, stores
        self._transit, self._own, self._hops = transit, own, hops
        self._signer, self._serials = signer, serials

    # What a store has to know

    def tell_least_paths(self, peer: str) -> None:
        """Let a store know over how many paths its bits must have come (R14)."""
        store = self._neighbours.here(f"key_store/{peer}")
        self._context.tell(store, links.LeastPaths(n=self._own.least_shares(peer)))

    def tell_water_marks(self, session: OriginSession) -> None:
        """Let the store know how much it is to hold."""
        terms, here = session.terms, self._neighbours.here
        session.marks_at = self._context.system.now()

        def found(reply: Message) -> None:
            rate = reply.rate if isinstance(reply, routes.PathRate) else 0
            session.hold_down_s = undecided_s(rate)
            marks = links.Marks(low_bits=terms.low_bits, high_bits=terms.high_bits, rate=rate)
            self._context.tell(here(f"key_store/{terms.destination}"), marks)

        self._context.ask(here("router"), routes.AskPathRate(paths=session.paths), found, PATHS_S)

    @handles(links.AskLeastPaths)
    def on_ask_least_paths(self, ask: links.AskLeastPaths) -> None:
        """A store has started, perhaps after a crash of its own."""
        if self._context.sender == self._neighbours.here(f"key_store/{ask.peer}"):
            self.tell_least_paths(ask.peer)
            if session := self._own.to(ask.peer):
                session.marks_at = -inf  # with the next refresh

    # From nothing to paths

    def set_up_all(self) -> None:
        """Set up whatever does not stand; with whom the directory names no more, nothing does."""
        for session in self._own:
            if self._neighbours.briefed and not self._is_listed(session):
                self._end_unlisted(session)
            self.set_up(session)

    def _is_listed(self, session: OriginSession) -> bool:
        return session.destination in self._neighbours.public

    def _end_unlisted(self, session: OriginSession) -> None:
        self.tear_down(session)
        session.state = "no_such_peer"
        session.why = f"the directory names {session.destination} no more"
        self._answer(session)

    def set_up(self, session: OriginSession) -> None:
        """Look for paths, unless that is under way, done, or done by the other end."""
        to = session.destination
        ready = self._neighbours.briefed and self._serials.live and to in self._stores
        if not ready or not self._is_listed(session) or session.trying or session.id:
            return
        self.tell_least_paths(to)
        if self.gives_way(session):
            session.state = ESTABLISHED
            session.why = f"filled by the session that begins at {to}"
            return
        session.trying = True
        session.turn += 1
        if session.terms.fixed:
            self._assign_shares(session, session.terms.paths)
        else:
            self._find_paths(session, careful=True)

    def gives_way(self, session: OriginSession) -> bool:
        """Whether SAEs at both ends have asked, and the other end's session will do for both.

        Both ends know whether the nodes of both sessions speak as we do; if not, the lower name
        begins, as in the version before.
        """
        to, me = session.destination, self._context.system.node
        if not session.terms.sae or session.trying or not self._hops.ends_here(to):
            return False
        together = session.all_together and self._hops.end_here_together(to)
        return begins(to, me) if together else to < me

    @handles(Retry)
    def on_retry(self, due: Retry) -> None:
        """The pause is over."""
        session = self._own.to(due.destination)
        ours = self._context.sender == self._context.address
        if session and session.turn == due.turn and ours:
            self.set_up(session)

    def paths_for(
        self, session: OriginSession, *, careful: bool, keep: tuple[Path, ...] = ()
    ) -> routes.FindPaths:
        """Ask for paths; careful: none over what has failed just now."""
        now, terms = self._context.system.now(), session.terms
        nodes = session.excluded_nodes(now) if careful else ()
        links_out = session.excluded_links(now) if careful else ()
        return routes.FindPaths(
            to=terms.destination, n=terms.n, avoid=nodes, broken=links_out, keep=keep
        )

    def _find_paths(self, session: OriginSession, *, careful: bool) -> None:
        then = partial(self._found_paths, session, session.turn, careful)
        ask = self.paths_for(session, careful=careful)
        self._context.ask(self._neighbours.here("router"), ask, then, PATHS_S)

    def _found_paths(
        self, session: OriginSession, turn: int, careful: bool, reply: Message
    ) -> None:
        if turn != session.turn:
            return
        paths = reply.paths if isinstance(reply, routes.Paths) else ()
        n, now = session.terms.n, self._context.system.now()
        excluded = session.excluded_links(now) or session.excluded_nodes(now)
        if len(paths) < n and careful and excluded:
            self._find_paths(session, careful=False)  # it may be whole again, and is all there is
            return
        if len(paths) < n:
            code = "not_enough_disjoint_paths" if paths else "no_route"
            self.refused(session, code, self._context.system.node, ())
        else:
            self._assign_shares(session, paths)

    def _assign_shares(self, session: OriginSession, paths: tuple[Path, ...]) -> None:
        """Let every node carry the share that it has carried lately, if any (R14)."""
        now = self._context.system.now()
        if assigned := session.assign_shares(paths, now) if len(paths) > 1 else paths:
            self._establish(session, assigned)
        else:  # disjoint, but not from nodes that carried another share
            node, until = session.hindrance(paths)
            why = f": {node} carried another share, which counts for {ceil(until - now)} s more"
            why += "; it is tried again by itself"
            here = self._context.system.node
            self.refused(session, "not_enough_disjoint_paths", here, (), why)

    # From paths to a session

    def _establish(self, session: OriginSession, paths: tuple[Path, ...]) -> None:
        system = self._context.system
        made = SessionId(system.node, int.from_bytes(system.random(8), "big") >> 1)
        session.id, session.paths = made, paths
        session.missed, session.together = {}, {}
        replies = Replies(missing=len(paths))
        for share, path in enumerate(paths):
            heard = partial(self._heard, session, made, replies, share)
            no = "" if self._neighbours.usable(path[1]) else "no_route"
            if no := no or self._transit.take_own(made, share, path[1]):
                self._count(session, replies, share, (no, system.node))
            else:
                self.ask_share(session, share, heard)

    def ask_share(self, session: OriginSession, share: int, then: Then) -> None:
        """Ask the first hop for one share: to set it up, or to refresh it."""
        request = self._request(session, share)
        self._transit.ask_next(session.paths[share][1], request, then, ANSWER_S)

    def _request(self, session: OriginSession, share: int) -> KeyTransportSession2:
        """Say, in our name, that this share is wanted; for the first hop."""
        assert session.id, "it is being set up, or stands"
        path = session.paths[share]
        session.serial = self._serials.next()
        bare = KeyTransportSession2(
            session=session.id,
            share=share,
            shares=len(session.paths),
            path=path,
            weight=session.terms.weight,
            serial=session.serial,
            signature=b"",
            hop=1,
            wait=ANSWER_S * (len(path) - 1) / len(path),
        )
        return replace(bare, signature=self._signer.sign(session_text(bare)))

    def _heard(
        self, session: OriginSession, made: SessionId, replies: Replies, share: int, reply: Message
    ) -> None:
        """Take the answer for one share, unless its establishment was overtaken."""
        if session.id != made:
            self._transit.free_unless_open(made, share)
            return
        path, me = session.paths[share], self._context.system.node
        if is_together(reply):
            session.together[share] = None
        no = None if is_agreed(reply) else refusal_of(path, me, reply)
        self._count(session, replies, share, no)

    def _count(
        self, session: OriginSession, replies: Replies, share: int, no: tuple[str, str] | None
    ) -> None:
        """Note what became of one share, `no` if it is refused; the last one decides."""
        replies.missing -= 1
        if no and not replies.code:
            (replies.code, replies.node), replies.share = no, share
        if replies.missing:
            return
        if replies.code:
            path = session.paths[replies.share]
            self._free_unless_open(session)
            self._say_all_ended(session)
            session.id = None
            self.refused(session, replies.code, replies.node, path)
        else:
            self._established(session)

    def _established(self, session: OriginSession) -> None:
        assert session.id, "all its shares were answered"
        session.trying, session.failures = False, 0
        session.state, session.why = ESTABLISHED, ""
        session.reoptimized_at = self._context.system.now()
        for share, path in enumerate(session.paths):
            ends = float("inf")
            what = session.id, share, len(session.paths), path, 0, session.terms.weight
            self._transit.open(HopState(*what, session.serial, ends))
        self.tell_water_marks(session)
        self._context.log.info("session", to=session.destination, paths=session.paths)
        self._answer(session)
        if self.gives_way(session):
            self.tear_down(session)
            self.set_up(session)

    def _answer(self, session: OriginSession) -> None:
        answers, session.answers = session.answers, []
        for answer in answers:
            if session.established:
                answer(sessions.SessionAdded(session=session.seen()))
            else:
                answer(Failed(code=session.state, why=session.why))

    def refused(
        self, session: OriginSession, code: str, node: str, path: Path, why: str = ""
    ) -> None:
        """It does not stand: say why, and try again later, with growing pauses."""
        system = self._context.system
        if path and not session.terms.fixed:
            session.exclude(path, code, node, system.now())
        session.trying, session.id = False, None
        session.state, session.why = code, f"refused by {node}{why}"
        session.turn += 1
        wait = min(BACK_OFF_MAX_S, BACK_OFF_S * 2.0**session.failures)
        session.failures = min(session.failures + 1, 10)
        jitter = 0.75 + int.from_bytes(system.random(2), "big") / (1 << 17)
        session.refused_by = node
        retry = Retry(destination=session.destination, turn=session.turn)
        self._context.remind(wait * jitter, retry)
        system.meter.add("protokms_session_failures", reason=code)
        self._answer(session)

    # The end of a session

    def tear_down(self, session: OriginSession) -> None:
        """End an establishment: what is undecided is withdrawn before anything else begins."""
        session.turn += 1  # whatever is under way is overtaken
        session.trying = False
        if session.id is None:
            return
        session.hold_down(self._context.system.now())
        for share in range(len(session.paths)):
            state = self._hops.get(session.id, share)
            if state:
                self._transit.close(state)
        self._free_unless_open(session)
        self._say_all_ended(session)
        session.id = None

    def _free_unless_open(self, session: OriginSession) -> None:
        assert session.id, "it was being set up"
        for share in range(len(session.paths)):
            self._transit.free_unless_open(session.id, share)

    def _say_all_ended(self, session: OriginSession) -> None:
        for share, path in enumerate(session.paths):
            if session.id and path[1] in self._neighbours.up:
                ended = sessions.SessionEnded(session=session.id, share=share)
                self._context.tell(Address("sessions", path[1]), ended)


def is_agreed(reply: Message) -> bool:
    """Whether everybody further on has agreed."""
    return isinstance(reply, SetUpReply) and reply.established


def refusal_of(path: Path, me: str, reply: Message) -> tuple[str, str]:
    """Return code and culprit of what is no agreement."""
    if not isinstance(reply, SetUpReply):
        return "no_route", me
    return blame(path, 0, reply.code, reply.node)
