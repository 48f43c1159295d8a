"""Sessions of others that cross this node, or end here: soft state, checked hop by hop."""

import itertools
from dataclasses import replace

from actors.base import Later, System, Then, handles
from actors.distant import Distant, SessionOptions
from actors.lanes import LANES_MAX
from actors.protocol import relay, sessions
from actors.protocol.common import Failed
from actors.protocol.relay import LaneClosed
from actors.protocol.sessions import KeyTransportSession, KeyTransportSessionReply
from actors.signing import session_text, verifies
from actors.terms import Lane, LaneKey, blame, well_formed
from transport.envelope import Address
from transport.message import Message, local
from transport.quota import Allowance

TICK_S = 1.0
WAIT_S = 10.0
"""Seconds that anybody waits for a hop at most."""

ORIGIN_MAX = LANES_MAX // 4
"""Lanes of one origin from here to one neighbour: a liar must not take the room of all others."""

ENDED_KEPT = 4096
_ASKS_S, _ASKS_BURST = 200.0, 1000.0


@local
class Tick(Message):
    """Time to look what has expired, and what is due."""


class Crossing(Distant):
    """Admits, refreshes and forgets lanes."""

    def __init__(self, system: System, name: str, options: SessionOptions) -> None:
        super().__init__(system, name, options)
        self.lanes: dict[LaneKey, Lane] = {}
        self._ended: dict[LaneKey, None] = {}
        self._allowed: dict[str, Allowance] = {}
        self._begun = False
        self._asked: dict[int, tuple[str, Then]] = {}
        self._numbers = itertools.count()

    def network_changed(self) -> None:
        """Forget who asked how often: peers may have gone for good.

        When it is first known who is who, relays hear that lanes of a former life are over.
        """
        self._allowed.clear()
        if self.briefed and not self._begun:
            self._begun = True
            for peer in self.linked:
                self.tell(self.here(f"relay/{peer}"), relay.ForgetLanes())

    # A session is asked for, or refreshed

    @handles(KeyTransportSession)
    def on_session(self, ask: KeyTransportSession) -> Later | Message | None:
        """Check, pass on, and open a lane once everybody further on has."""
        me, peer, key = self.system.node, self.sender.node, (ask.session, ask.share)
        code = self._refusal(ask, peer)
        if code:
            self.system.meter.add("protokms_sessions_refused", peer=peer, reason=code)
            return KeyTransportSessionReply(established=False, code=code, node=me)
        known = self.lanes.get(key)
        if known:
            known.serial, known.weight = ask.serial, ask.weight
            known.expires = self.system.now() + self.options.expiry_s
        answer = self.later()

        def stored(no: str) -> None:
            if not no:
                self._open(ask)
            answer(KeyTransportSessionReply(established=not no, code=no, node=me if no else ""))

        def told(reply: Message) -> None:
            self._told(ask, reply, answer)

        if ask.hop == len(ask.path) - 1:
            self.have_store(ask.session.origin, stored)
        else:
            left = len(ask.path) - ask.hop
            wait = min(ask.wait, WAIT_S)
            on = replace(ask, hop=ask.hop + 1, wait=wait * (left - 1) / left)
            self.ask_sessions(ask.path[ask.hop + 1], on, told, wait)
        return answer

    def ask_sessions(self, peer: str, ask: KeyTransportSession, then: Then, timeout: float) -> None:
        """Ask the next node; that it goes down is an answer too."""
        number = next(self._numbers)

        def once(reply: Message) -> None:
            if self._asked.pop(number, None):
                then(reply)

        self._asked[number] = peer, once
        self.ask(Address("sessions", peer), ask, once, timeout)

    def _told(self, ask: KeyTransportSession, reply: Message, answer: Later) -> None:
        """Hear of the rest of the path."""
        if isinstance(reply, KeyTransportSessionReply) and reply.established:
            self._open(ask)
            answer(reply)
            return
        lane = self.lanes.get((ask.session, ask.share))
        if isinstance(reply, KeyTransportSessionReply):
            code, node = blame(ask.path, ask.hop, reply.code, reply.node)
        elif lane and isinstance(reply, Failed) and reply.code == "timeout":
            return  # a refresh that got lost costs nothing yet: the origin asks again
        else:
            code, node = "no_route", self.system.node
        if lane:
            self.close(lane)
        answer(KeyTransportSessionReply(established=False, code=code, node=node))

    def _refusal(self, ask: KeyTransportSession, peer: str) -> str:
        """Return the code of a refusal, or nothing; what is cheap to see comes first."""
        if not well_formed(ask) or not self._is_our_turn(ask, peer):
            return "not_allowed"
        if not self.public.keys() >= set(ask.path):
            return "no_such_peer"
        if peer not in self.linked:
            return "no_route"
        allowed = self._allowance(peer).take(1, self.system.now())
        if not allowed or not self._is_signed(ask):
            return "not_allowed"
        if ask.hop == len(ask.path) - 1 and ask.shares < self.least_shares(ask.session.origin):
            return "not_enough_disjoint_paths"
        return "" if (ask.session, ask.share) in self.lanes else self._no_room(ask)

    def _is_our_turn(self, ask: KeyTransportSession, peer: str) -> bool:
        """Whether it is for this place on the path, newer than what was heard, and not over."""
        key = ask.session, ask.share
        known = self.lanes.get(key)
        here = ask.path[ask.hop] == self.system.node and ask.path[ask.hop - 1] == peer
        new = known is None or (ask.serial > known.serial and ask.path == known.path)
        return here and new and key not in self._ended

    def _is_signed(self, ask: KeyTransportSession) -> bool:
        return verifies(self.public[ask.session.origin], session_text(ask), ask.signature)

    def _no_room(self, ask: KeyTransportSession) -> str:
        """Tell why a lane that is not here yet cannot be."""
        after = ask.path[ask.hop + 1] if ask.hop + 1 < len(ask.path) else ""
        if len(self.lanes) >= self.options.max_crossing:
            return "not_allowed"
        if not after:
            return self.no_store(ask.session.origin, theirs=True)
        if not self.usable(after):
            return "no_route"
        origin, lanes = ask.session.origin, self.lanes.values()
        if sum(it.after == after and it.path[0] == origin for it in lanes) >= ORIGIN_MAX:
            return "not_allowed"
        level = self.levels[after]
        return "" if level.stock or level.rate else "not_enough_bits"

    def _allowance(self, peer: str) -> Allowance:
        if peer not in self._allowed:
            self._allowed[peer] = Allowance(_ASKS_S, _ASKS_BURST)
        return self._allowed[peer]

    # Lanes

    def _open(self, ask: KeyTransportSession) -> None:
        key = ask.session, ask.share
        lane = self.lanes.get(key)
        if lane is None and key not in self._ended:
            ends = self.system.now() + self.options.expiry_s
            what = ask.session, ask.share, ask.shares, ask.path, ask.hop, ask.weight
            lane = Lane(*what, ask.serial, ends)
            self.open(lane)
            if not lane.after:
                self.far_end_opened(ask.session.origin)

    def open(self, lane: Lane) -> None:
        """Let the two actors here know of a lane."""
        self.lanes[lane.key] = lane
        for name in (lane.target, lane.source):
            self.tell(self.here(name), lane.opened())

    def close(self, lane: Lane) -> None:
        """Let them know that it is none any more; the virtual link first, who withdraws (R14)."""
        if self.lanes.pop(lane.key, None) is None:
            return
        self._end(lane.key)
        for name in sorted((lane.source, lane.target), reverse=True):
            self.tell(self.here(name), LaneClosed(session=lane.session, share=lane.share))
        if not lane.after:
            self.far_end_closed(lane.session.origin)

    def _end(self, key: LaneKey) -> None:
        if len(self._ended) >= ENDED_KEPT:
            del self._ended[next(iter(self._ended))]
        self._ended[key] = None

    def lose(self, lane: Lane, code: str, node: str) -> None:
        """It cannot go on: tell the origin, and whoever is further on; then forget it."""
        if not lane.hop:
            self.on_lost(lane, code, node)
            return
        self.close(lane)
        self.system.meter.add("protokms_lanes_lost", reason=code)
        lost = sessions.SessionLost(session=lane.session, share=lane.share, code=code, node=node)
        self.tell(Address("sessions", lane.before), lost)
        self.say_ended(lane)

    def say_ended(self, lane: Lane) -> None:
        """Tell whoever is further on that it is over."""
        if lane.after in self.up:
            ended = sessions.SessionEnded(session=lane.session, share=lane.share)
            self.tell(Address("sessions", lane.after), ended)

    def on_lost(self, lane: Lane, code: str, node: str) -> None:
        """A lane that begins here cannot go on."""

    def far_end_opened(self, origin: str) -> None:
        """A share of a session ends here."""

    def far_end_closed(self, origin: str) -> None:
        """A session that ended here is over."""

    def fills(self, peer: str) -> bool:
        """Whether a session from that peer ends here."""
        return any(not lane.after and lane.path[0] == peer for lane in self.lanes.values())

    def least_shares(self, peer: str) -> int:
        """Return over how many paths, or more, what we share with a peer has to come."""
        raise NotImplementedError

    @handles(sessions.SessionLost)
    def on_session_lost(self, word: sessions.SessionLost) -> None:
        """Pass it on towards the origin; only the node after us on the path may say so."""
        lane = self.lanes.get((word.session, word.share))
        if lane and self.sender.node == lane.after:
            code, node = blame(lane.path, lane.hop, word.code, word.node)
            self._lost_beyond(lane, code, node)

    def _lost_beyond(self, lane: Lane, code: str, node: str) -> None:
        if lane.hop:
            self.close(lane)
            lost = sessions.SessionLost(
                session=lane.session, share=lane.share, code=code, node=node
            )
            self.tell(Address("sessions", lane.before), lost)
        else:
            self.on_lost(lane, code, node)

    @handles(sessions.SessionEnded)
    def on_session_ended(self, word: sessions.SessionEnded) -> None:
        """Pass it on towards the destination; only the node before us may say so."""
        lane = self.lanes.get((word.session, word.share))
        if lane and lane.hop and self.sender.node == lane.before:
            self.close(lane)
            self.say_ended(lane)

    @handles(relay.LaneBroken)
    def on_lane_broken(self, news: relay.LaneBroken) -> None:
        """A relay here gives up."""
        lane = self.lanes.get((news.session, news.share))
        if lane is None:  # of a former life of ours, say
            closed = LaneClosed(session=news.session, share=news.share)
            self.tell(self.sender, closed)
        elif self.sender.name in (lane.source, lane.target):
            code = news.code if news.code in sessions.CODES else "no_route"
            self.lose(lane, code, self.system.node)

    @handles(relay.AskLanes)
    def on_ask_lanes(self, _: relay.AskLanes) -> None:
        """A relay or virtual link has (re)started."""
        for lane in self.lanes.values():
            if self.sender.name in (lane.source, lane.target):
                self.tell(self.sender, lane.opened())

    def peer_left(self, peer: str) -> None:
        """Every lane to or from a neighbour that is away is lost; nobody waits for its answers."""
        if peer not in self.linked:
            return
        for asked, once in list(self._asked.values()):
            if asked == peer:
                once(Failed(code="undeliverable", why=peer))
        for lane in list(self.lanes.values()):
            if lane.after == peer:
                self.lose(lane, "no_route", self.system.node)
            elif lane.before == peer:
                self.close(lane)
                self.say_ended(lane)

    def expire(self, now: float) -> None:
        """Forget what its origin has not refreshed."""
        for lane in [lane for lane in self.lanes.values() if lane.expires < now]:
            self.system.meter.add("protokms_lanes_lost", reason="expired")
            self.close(lane)
