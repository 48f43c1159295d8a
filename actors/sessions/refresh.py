"""Refreshes: one word of an origin over each link keeps all its shares that lead there (R13).

An origin signs that it lives, and names to each neighbour the shares that lead there. Each node
keeps those named for a while longer, and names them to the next one. What is not named is merely
not refreshed: words that are lost, doubled or late do no harm.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from actors.base import Commit, Context, Part, handles
from actors.crypto.signatures import Signer, refresh_text, verifies
from actors.network.neighbours import Neighbours
from actors.protocol import alarms
from actors.protocol.relay import SessionId
from actors.protocol.sessions import NAMES_MAX, Refresh, RefreshReply
from actors.sessions.options import SessionOptions
from actors.sessions.room import Room
from actors.sessions.serials import SERIAL_MAX, Serials
from actors.sessions.session import OwnSessions
from actors.sessions.terms import HopKey, HopState, HopTable
from actors.sessions.transit import Transit
from transport.envelope import Address
from transport.message import Message

ANSWER_S = 4.0
"""Seconds that a refresh waits for the next node; less than it takes until the next one."""
MISSES_MAX = 3
"""Refreshes in a row over one link without an answer: then what they name is lost."""
_NAME = struct.Struct(">QB")


class _Heard(NamedTuple):
    """The newest serial of an origin, and its signature."""

    serial: int = 0
    signature: bytes = b""


class Refreshing(Part):
    """Says that what begins here is wanted still, hears it of others, and says it on."""

    def __init__(
        self,
        context: Context,
        *,
        neighbours: Neighbours,
        transit: Transit,
        own: OwnSessions,
        hops: HopTable,
        room: Room,
        serials: Serials,
        signer: Signer,
        options: SessionOptions,
        commit: Commit,
    ) -> None:
        self._context, self._neighbours, self._transit = context, neighbours, transit
        self._own, self._hops, self._room = own, hops, room
        self._serials, self._signer = serials, signer
        self._options, self._commit = options, commit
        self._heard: dict[str, _Heard] = {}
        self._missed: dict[tuple[str, str], int] = {}
        """Refreshes in a row that a neighbour has not answered, by neighbour and origin."""

    def network_changed(self) -> None:
        """Who has left the directory is not heard of any more."""
        public = self._neighbours.public
        self._heard = {origin: it for origin, it in self._heard.items() if origin in public}
        self._missed = {key: n for key, n in self._missed.items() if key[1] in public}

    # Of what begins here

    def say_own(self, named: Mapping[str, Sequence[HopKey]]) -> None:
        """Say once that we live, and to each neighbour which of our shares lead there."""
        if not named:
            return
        me, serial = self._context.system.node, self._serials.next()
        signature = self._signer.sign(refresh_text(me, serial))
        word = Refresh(origin=me, serial=serial, signature=signature, lanes=b"")
        for peer, keys in named.items():
            self._say(peer, word, keys)

    def _say(self, to: str, word: Refresh, keys: Sequence[HopKey]) -> None:
        then = partial(self._answered, to, word.origin, keys)
        on = replace(word, lanes=_names(keys))
        self._context.ask(Address("sessions", to), on, then, ANSWER_S)

    def _answered(self, to: str, origin: str, keys: Sequence[HopKey], reply: Message) -> None:
        """What the next node does not know is lost; all is, once it was silent for long."""
        missed = self._missed.pop((to, origin), 0)
        if isinstance(reply, RefreshReply):
            self._hear_newest(origin, _Heard(reply.serial, reply.signature), to)
            for key in _keys(origin, reply.lost):
                state = self._hops.get(*key)
                if state and state.after == to:
                    self._transit.lost_beyond(state, "no_route", to)
        elif missed + 1 < MISSES_MAX:
            self._missed[to, origin] = missed + 1
        else:
            for key in keys:
                state = self._hops.get(*key)
                if state and state.after == to:
                    self._transit.lose(state, "no_route", self._context.system.node)

    # Of what others begin

    @handles(Refresh)
    def on_refresh(self, word: Refresh) -> RefreshReply | None:
        """Keep what is named a while longer, and name it to whoever is next, share by share."""
        peer, heard = self._context.sender.node, self._heard.get(word.origin, _Heard())
        if not self._may_say(word, peer):
            self._count_refused(peer)
            return None
        if word.serial < heard.serial:
            return RefreshReply(lost=b"", serial=heard.serial, signature=heard.signature)
        said = _Heard(word.serial, word.signature)
        if said != heard and not self._take(word.origin, said, peer):
            self._count_refused(peer)
            return None
        lost: list[HopKey] = []
        onward: dict[str, list[HopKey]] = {}
        for key in _keys(word.origin, word.lanes):
            state = self._hops.get(*key)
            if state is None or state.before != peer:
                if not self._is_being_set_up(key, peer):
                    lost.append(key)
            elif self._keep(state, word.serial) and state.after:
                onward.setdefault(state.after, []).append(key)
        for after, keys in onward.items():
            self._say(after, word, keys)
        return RefreshReply(lost=_names(lost), serial=0, signature=b"")

    def _may_say(self, word: Refresh, peer: str) -> bool:
        near, length = self._neighbours, len(word.lanes)
        known = word.origin in near.public and word.origin != self._context.system.node
        sized = length % _NAME.size == 0 and length <= NAMES_MAX * _NAME.size
        return peer in near.linked and known and sized and 0 < word.serial <= SERIAL_MAX

    def _count_refused(self, peer: str) -> None:
        meter = self._context.system.meter
        meter.add("protokms_sessions_refused", peer=peer, reason="refresh")

    def _take(self, origin: str, said: _Heard, peer: str) -> bool:
        """Take the newest word of an origin, if it is its own; each is looked at once."""
        heard = self._heard.get(origin, _Heard())
        public = self._neighbours.public[origin]
        allowed = self._transit.allowed(peer)
        true = said.serial > heard.serial and allowed
        if not true or not verifies(public, refresh_text(origin, said.serial), said.signature):
            return False
        self._heard[origin] = said
        return True

    def _is_being_set_up(self, key: HopKey, peer: str) -> bool:
        places = self._room.places(key)
        return places is not None and places.before == peer and key not in self._hops

    def _keep(self, state: HopState, serial: int) -> bool:
        """Let a share stand a while longer; one that ends here needs paths enough as ever (R14)."""
        state.serial = max(state.serial, serial)
        self._hops.refreshed(state, self._context.system.now() + self._options.expiry_s)
        if not state.after and state.shares < self._own.least_shares(state.session.origin):
            self._transit.lose(state, "not_enough_disjoint_paths", self._context.system.node)
            return False
        return True

    def _hear_newest(self, origin: str, newest: _Heard, peer: str) -> None:
        """A neighbour has heard a newer word than ours: of ourselves, we go on after it."""
        if not newest.serial or origin not in self._neighbours.public:
            return
        if origin != self._context.system.node:
            self._take(origin, newest, peer)
            return
        text = refresh_text(origin, newest.serial)
        ours = verifies(self._signer.public, text, newest.signature)
        row = self._serials.outdo(newest.serial) if ours else None
        if row:
            self._context.log.warning("serial_was_lost", theirs=newest.serial, peer=peer)
            raised = alarms.Raised(id="serial_lost", subject=peer)
            self._context.tell(alarms.told(self._context.system.node), raised)
            self._commit([row], lambda: None)


def _names(keys: Iterable[HopKey]) -> bytes:
    return b"".join(_NAME.pack(session.number, share) for session, share in keys)


def _keys(origin: str, lanes: bytes) -> list[HopKey]:
    if len(lanes) % _NAME.size:
        return []
    return [(SessionId(origin, number), share) for number, share in _NAME.iter_unpack(lanes)]
