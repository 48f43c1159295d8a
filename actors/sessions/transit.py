"""Sessions of others that cross this node, or end here: soft state, checked hop by hop."""

import itertools
from dataclasses import replace
from typing import Protocol

from actors.base import Context, Later, Part, Then, handles
from actors.crypto.signatures import session_text, verifies
from actors.network.neighbours import Neighbours
from actors.protocol import relay, sessions
from actors.protocol.common import Failed
from actors.protocol.relay import LaneClosed, SessionId
from actors.protocol.sessions import (
    KeyTransportSession,
    KeyTransportSession2,
    KeyTransportSessionReply,
    KeyTransportSessionReply2,
    SetUp,
    SetUpReply,
)
from actors.sessions.distant_stores import DistantStores
from actors.sessions.options import SessionOptions
from actors.sessions.room import Permitted, Places, Room
from actors.sessions.session import OwnSessions
from actors.sessions.terms import HopKey, HopState, HopTable, blame, well_formed
from transport.envelope import Address
from transport.message import Message
from transport.quota import Allowance

WAIT_S = 10.0
"""Seconds that anybody waits for a hop at most."""

ENDED_KEPT = 4096
_ASKS_S, _ASKS_BURST = 200.0, 1000.0


class TransitEvents(Protocol):
    """What an actor hears of its part `Transit`."""

    def own_share_lost(self, state: HopState, code: str, node: str) -> None:
        """A share of a session that begins here cannot go on."""
        ...

    def far_end_opened(self, origin: str) -> None:
        """A share of a session from there ends here now."""
        ...

    def far_end_closed(self, origin: str) -> None:
        """A share of a session from there ended here, and is over."""
        ...


class Transit(Part):
    """Admits, refreshes and forgets hop state; asks the next node, and tells the last one."""

    def __init__(
        self,
        context: Context,
        *,
        neighbours: Neighbours,
        stores: DistantStores,
        own: OwnSessions,
        hops: HopTable,
        room: Room,
        options: SessionOptions,
        events: TransitEvents,
    ) -> None:
        self._context, self._neighbours, self._stores = context, neighbours, stores
        self._own, self._hops, self._room = own, hops, room
        self._options, self._events = options, events
        self._permitted = Permitted(options)
        self._ended: dict[HopKey, None] = {}
        self._allowed: dict[str, Allowance] = {}
        self._relays_told = False
        self._asked: dict[int, tuple[str, Then]] = {}
        self._numbers = itertools.count()

    def network_changed(self) -> None:
        """Forget who asked how often: peers may have gone for good.

        When it is first known who is who, relays hear that shares of a former life are over.
        """
        self._allowed.clear()
        if self._neighbours.briefed and not self._relays_told:
            self._relays_told = True
            for peer in self._neighbours.linked:
                self._context.tell(self._neighbours.here(f"relay/{peer}"), relay.ForgetLanes())

    def peer_down(self, peer: str) -> None:
        """Every share to or from a neighbour that is away is lost; nobody waits for its answers."""
        if peer not in self._neighbours.linked:
            return
        for asked, once in list(self._asked.values()):
            if asked == peer:
                once(Failed(code="undeliverable", why=peer))
        for state in list(self._hops):
            if state.after == peer:
                self.lose(state, "no_route", self._context.system.node)
            elif state.before == peer:
                self.close(state)
                self._say_ended(state)

    def expire(self) -> None:
        """Forget what its origin has not refreshed."""
        now = self._context.system.now()
        for state in self._hops.expired(now):
            self._context.system.meter.add("protokms_lanes_lost", reason="expired")
            self.close(state)

    @handles(sessions.Permits)
    def on_permits(self, news: sessions.Permits) -> None:
        """Hear which sessions of others may lead over here; what may not any more is lost."""
        if self._context.sender != self._neighbours.here("intent"):
            return
        self._permitted.replace(news.permits)
        for state in list(self._hops):
            if state.hop and not self._permitted.allow(state.path, state.hop):
                self.lose(state, "not_allowed", self._context.system.node)

    # A session is asked for, or refreshed

    @handles(KeyTransportSession)
    def on_session(self, ask: KeyTransportSession) -> Later | Message:
        """Check, pass on, and keep hop state once everybody further on has."""
        return self._on_set_up(ask)

    @handles(KeyTransportSession2)
    def on_session_2(self, ask: KeyTransportSession2) -> Later | Message:
        """As for `/1`, from a node that takes `Refresh`, as all before it."""
        return self._on_set_up(ask)

    def _on_set_up(self, ask: SetUp) -> Later | Message:
        system, peer = self._context.system, self._context.sender.node
        me = system.node
        code = self._refusal(ask, peer)
        if code:
            system.meter.add("protokms_sessions_refused", peer=peer, reason=code)
            return _said(ask, code, me)
        known = self._hops.get(ask.session, ask.share)
        if known:
            known.serial, known.weight = ask.serial, ask.weight
            self._hops.refreshed(known, system.now() + self._options.expiry_s)
        answer = self._context.later()

        def stored(no: str) -> None:
            code = no or self._admit(ask)
            if no:
                self.free_unless_open(ask.session, ask.share)
            answer(_said(ask, code, me, together=True))

        def told(reply: Message) -> None:
            self._told(ask, reply, answer)

        if ask.hop == len(ask.path) - 1:
            self._stores.have_store(ask.session.origin, stored)
        else:
            left = len(ask.path) - ask.hop
            wait = min(ask.wait, WAIT_S)
            on = replace(ask, hop=ask.hop + 1, wait=wait * (left - 1) / left)
            self.ask_next(ask.path[ask.hop + 1], on, told, wait)
        return answer

    def ask_next(self, peer: str, ask: SetUp, then: Then, timeout: float) -> None:
        """Ask the next node in words that it knows; that it goes down is an answer too."""
        if not self._neighbours.speaks(peer, KeyTransportSession2):
            ask = _as_first(ask)
        number = next(self._numbers)

        def once(reply: Message) -> None:
            if self._asked.pop(number, None):
                then(reply)

        self._asked[number] = peer, once
        self._context.ask(Address("sessions", peer), ask, once, timeout)

    def _told(self, ask: SetUp, reply: Message, answer: Later) -> None:
        """Hear of the rest of the path."""
        if isinstance(reply, SetUpReply) and reply.established:
            code, me = self._admit(ask), self._context.system.node
            answer(_said(ask, code, me, together=is_together(reply)))
            return
        state = self._hops.get(ask.session, ask.share)
        if isinstance(reply, SetUpReply):
            code, node = blame(ask.path, ask.hop, reply.code, reply.node)
        elif state and isinstance(reply, Failed) and reply.code == "timeout":
            return  # a refresh that got lost costs nothing yet: the origin asks again
        else:
            code, node = "no_route", self._context.system.node
        if state:
            self.close(state)
        self.free_unless_open(ask.session, ask.share)
        answer(_said(ask, code, node))

    def _refusal(self, ask: SetUp, peer: str) -> str:
        """Return the code of a refusal, or nothing; what is cheap to see comes first."""
        if not well_formed(ask) or not self._is_our_turn(ask, peer):
            return "not_allowed"
        if not self._neighbours.public.keys() >= set(ask.path):
            return "no_such_peer"
        if peer not in self._neighbours.linked:
            return "no_route"
        permitted = self._permitted.allow(ask.path, ask.hop)
        if not (permitted and self.allowed(peer) and self._is_signed(ask)):
            return "not_allowed"
        if ask.hop == len(ask.path) - 1 and ask.shares < self._own.least_shares(ask.session.origin):
            return "not_enough_disjoint_paths"
        return "" if (ask.session, ask.share) in self._hops else self._no_room(ask)

    def _is_our_turn(self, ask: SetUp, peer: str) -> bool:
        """Whether it is for this place on the path, newer than what was heard, and not over."""
        known = self._hops.get(ask.session, ask.share)
        here = ask.path[ask.hop] == self._context.system.node and ask.path[ask.hop - 1] == peer
        new = known is None or (ask.serial > known.serial and ask.path == known.path)
        return here and new and (ask.session, ask.share) not in self._ended

    def _is_signed(self, ask: SetUp) -> bool:
        public = self._neighbours.public[ask.session.origin]
        return verifies(public, session_text(ask), ask.signature)

    def _no_room(self, ask: SetUp) -> str:
        """Take places for a share that is not here yet, or tell why it cannot be."""
        after = ask.path[ask.hop + 1] if ask.hop + 1 < len(ask.path) else ""
        origin, key = ask.session.origin, (ask.session, ask.share)
        if key in self._room:
            return "not_allowed"  # it is being set up
        if not after and (no := self._stores.no_store(origin, theirs=True)):
            return no
        if after and not self._neighbours.usable(after):
            return "no_route"
        return self._room.take(key, Places(ask.path[ask.hop - 1], after, origin))

    def take_own(self, session: SessionId, share: int, after: str) -> str:
        """Take places for a share that begins here; return the code of what is full, or nothing."""
        return self._room.take((session, share), Places("", after, session.origin))

    def free_unless_open(self, session: SessionId, share: int) -> None:
        """Nothing came of a share: its places are free again."""
        if (session, share) not in self._hops:
            self._room.free((session, share))

    def allowed(self, peer: str) -> bool:
        """Whether a signature may be looked at for this neighbour: each costs time."""
        if peer not in self._allowed:
            self._allowed[peer] = Allowance(_ASKS_S, _ASKS_BURST)
        return self._allowed[peer].take(1, self._context.system.now())

    # Hop state comes and goes

    def _admit(self, ask: SetUp) -> str:
        """Keep hop state, unless it was ended while it was being set up: then say so."""
        key = ask.session, ask.share
        if key in self._ended:
            return "not_allowed"
        if key not in self._hops:
            ends = self._context.system.now() + self._options.expiry_s
            what = ask.session, ask.share, ask.shares, ask.path, ask.hop, ask.weight
            together = isinstance(ask, KeyTransportSession2)
            state = HopState(*what, ask.serial, ends, together)
            self.open(state)
            if not state.after:
                self._events.far_end_opened(ask.session.origin)
        return ""

    def open(self, state: HopState) -> None:
        """Let the two actors here know of a share."""
        self._hops.add(state)
        for name in (state.target, state.source):
            self._context.tell(self._neighbours.here(name), state.opened())

    def close(self, state: HopState) -> None:
        """Let them know that it is none any more; the virtual link first, who withdraws (R14)."""
        if not self._hops.remove(state.key):
            return
        self._remember_ended(state.key)
        self._room.free(state.key)
        closed = LaneClosed(session=state.session, share=state.share)
        for name in sorted((state.source, state.target), reverse=True):
            self._context.tell(self._neighbours.here(name), closed)
        if not state.after:
            self._events.far_end_closed(state.session.origin)

    def _remember_ended(self, key: HopKey) -> None:
        if len(self._ended) >= ENDED_KEPT:
            del self._ended[next(iter(self._ended))]
        self._ended[key] = None

    def lose(self, state: HopState, code: str, node: str) -> None:
        """It cannot go on: tell the origin, and whoever is further on; then forget it."""
        if not state.hop:
            self._events.own_share_lost(state, code, node)
            return
        self.close(state)
        self._context.system.meter.add("protokms_lanes_lost", reason=code)
        self._say_lost(state, code, node)
        self._say_ended(state)

    def _say_lost(self, state: HopState, code: str, node: str) -> None:
        lost = sessions.SessionLost(session=state.session, share=state.share, code=code, node=node)
        self._context.tell(Address("sessions", state.before), lost)

    def _say_ended(self, state: HopState) -> None:
        """Tell whoever is further on that it is over."""
        if state.after in self._neighbours.up:
            ended = sessions.SessionEnded(session=state.session, share=state.share)
            self._context.tell(Address("sessions", state.after), ended)

    @handles(sessions.SessionLost)
    def on_session_lost(self, word: sessions.SessionLost) -> None:
        """Pass it on towards the origin; only the node after us on the path may say so."""
        state = self._hops.get(word.session, word.share)
        if state is None or self._context.sender.node != state.after:
            return
        code, node = blame(state.path, state.hop, word.code, word.node)
        self.lost_beyond(state, code, node)

    def lost_beyond(self, state: HopState, code: str, node: str) -> None:
        """It is over from the next node on: pass that on towards the origin."""
        if state.hop:
            self.close(state)
            self._say_lost(state, code, node)
        else:
            self._events.own_share_lost(state, code, node)

    @handles(sessions.SessionEnded)
    def on_session_ended(self, word: sessions.SessionEnded) -> None:
        """Pass it on towards the destination; only the node before us may say so."""
        key, peer = (word.session, word.share), self._context.sender.node
        state, places = self._hops.get(word.session, word.share), self._room.places(key)
        if state and state.hop and peer == state.before:
            self.close(state)
            self._say_ended(state)
        elif state is None and places and places.before == peer:
            self._remember_ended(key)  # it is being set up, and will not be opened
            self._room.free(key)
            if places.after in self._neighbours.up:
                self._context.tell(Address("sessions", places.after), word)

    @handles(relay.LaneBroken)
    def on_lane_broken(self, news: relay.LaneBroken) -> None:
        """A relay here gives up."""
        sender, state = self._context.sender, self._hops.get(news.session, news.share)
        if state is None:  # of a former life of ours, say
            self._context.tell(sender, LaneClosed(session=news.session, share=news.share))
        elif sender.name in (state.source, state.target):
            code = news.code if news.code in sessions.CODES else "no_route"
            self.lose(state, code, self._context.system.node)

    @handles(relay.AskLanes)
    def on_ask_lanes(self, _: relay.AskLanes) -> None:
        """A relay or virtual link has (re)started."""
        sender = self._context.sender
        for state in self._hops:
            if sender.name in (state.source, state.target):
                self._context.tell(sender, state.opened())


def is_together(reply: Message) -> bool:
    """Whether every node from the one that has answered on takes `Refresh`."""
    return isinstance(reply, KeyTransportSessionReply2) and reply.together


def _as_first(ask: SetUp) -> KeyTransportSession:
    """Say it to a node that does not know `/2`; what is signed is the same."""
    if isinstance(ask, KeyTransportSession):
        return ask
    return KeyTransportSession(
        session=ask.session,
        share=ask.share,
        shares=ask.shares,
        path=ask.path,
        weight=ask.weight,
        serial=ask.serial,
        signature=ask.signature,
        hop=ask.hop,
        wait=ask.wait,
    )


def _said(ask: SetUp, code: str, node: str, *, together: bool = False) -> SetUpReply:
    """Answer under the number under which was asked; `code` and `node` of a refusal, if any."""
    good, node = not code, node if code else ""
    if isinstance(ask, KeyTransportSession):
        return KeyTransportSessionReply(established=good, code=code, node=node)
    both = together and good
    return KeyTransportSessionReply2(established=good, code=code, node=node, together=both)
