"""One peer process, without I/O: is it there, and what may it say to whom?

Liveness is a handshake of three states, as in BFD (RFC 5880): an end is *up* only once each
end hears the other, so a network that is cut in one direction is down at both ends, and a
process that restarts within one heartbeat is still noticed.
"""

import time
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Protocol

import structlog

from transport.codec import MAX_FRAME, Malformed, Question, Sealer, decode, question_of
from transport.envelope import Envelope
from transport.roles import Roles

MISSED = 3
"""Heartbeats in a row that a peer may miss before it is down."""

LOG_EVERY = 60.0
"""Seconds between two log lines about what one peer was refused."""

SOURCES_TOLD = 16
"""Sources of refused frames that the log names apart in that time, for each peer."""

_PEERS_NOTED = 1024


class Meter(Protocol):
    """Where the transport counts."""

    def add(self, name: str, n: float = 1, **labels: str) -> None:
        """Count up."""
        ...

    def set(self, name: str, value: float, **labels: str) -> None:
        """Say how much there is now."""
        ...


class Beat(Enum):
    """A heartbeat: a frame of one octet, which no envelope is. It says how its sender stands."""

    HELLO = b"\x00"  # I do not hear you
    HEARD = b"\x01"  # I hear you, and do not know whether you hear me
    UP = b"\x02"  # we hear each other
    GONE = b"\x03"  # I stop
    IDLE = b"\x04"  # I close a connection that nobody has used; the next frame opens one


_BEATS = {beat.value: beat for beat in Beat}
_SILENCE = None  # nothing came for `MISSED` heartbeats

# How I stand, what I hear -> how I stand then. What is not listed leaves me as I am: above all
# UP heard at HELLO, which was meant for my former life; its sender will hear my HELLO.
_TURNS: dict[tuple[Beat, Beat | None], Beat] = {
    (Beat.HELLO, Beat.HELLO): Beat.HEARD,
    (Beat.HELLO, Beat.HEARD): Beat.UP,
    (Beat.HEARD, Beat.HEARD): Beat.UP,
    (Beat.HEARD, Beat.UP): Beat.UP,
    (Beat.HEARD, Beat.GONE): Beat.HELLO,
    (Beat.HEARD, Beat.IDLE): Beat.HELLO,
    (Beat.HEARD, _SILENCE): Beat.HELLO,
    (Beat.UP, Beat.HELLO): Beat.HEARD,  # it is new, or has lost me
    (Beat.UP, Beat.GONE): Beat.HELLO,
    (Beat.UP, Beat.IDLE): Beat.HELLO,
    (Beat.UP, _SILENCE): Beat.HELLO,
}


def beat_of(octets: bytes) -> Beat | None:
    """Tell which heartbeat a frame is; None if it is none."""
    return _BEATS.get(octets) if len(octets) == 1 else None


class Session:
    """How one peer process stands; `interval` is the seconds between two heartbeats."""

    def __init__(self, interval: float) -> None:
        self.state = Beat.HELLO
        self._patience = MISSED * interval
        self._heard = 0.0

    @property
    def up(self) -> bool:
        """Whether each end hears the other."""
        return self.state is Beat.UP

    def hear(self, beat: Beat, now: float) -> bool:
        """Take a heartbeat; an envelope counts as `Beat.UP`. True if the state has changed."""
        self._heard = now
        return self._turn(beat)

    def tick(self, now: float) -> bool:
        """Let time pass. True if the state has changed."""
        return now - self._heard > self._patience and self._turn(_SILENCE)

    def forget(self) -> None:
        """Begin anew: the connection is closed."""
        self.state = Beat.HELLO

    def _turn(self, event: Beat | None) -> bool:
        before = self.state
        self.state = _TURNS.get((before, event), before)
        return self.state is not before


class Refusals:
    """Counts what is refused, by reason and peer, and logs it once per peer and minute.

    `peer` must be a name from the directory, or a fixed word: it becomes a label. Where many hide
    behind one such word, `source` tells them apart: each has a line a minute, up to a limit.
    `told(peer, text)` hears of each line, on the thread of the refusal.
    """

    def __init__(
        self,
        meter: Meter,
        now: Callable[[], float] = time.monotonic,
        told: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        self._meter, self._now, self._tell = meter, now, told
        self._noted: dict[tuple[str, str], float] = {}
        self._told: dict[str, tuple[float, int]] = {}
        self._log = structlog.get_logger()

    def note(self, peer: str, reason: str, why: str = "", source: str = "") -> None:
        """Count one refusal; `why` is for people and holds nothing secret."""
        self._meter.add("protokms_frames_refused", reason=reason, peer=peer)
        now = self._now()
        if now - self._noted.get((peer, source), -LOG_EVERY) < LOG_EVERY:
            return
        if source and not self._may_tell(peer, now):
            return
        if len(self._noted) >= _PEERS_NOTED:
            self._noted.clear()
        self._noted[peer, source] = now
        self._log.warning("frame refused", peer=peer, reason=reason, why=why)
        self._tell(peer, f"{reason}: {why}" if why else reason)

    def _may_tell(self, peer: str, now: float) -> bool:
        """Tell whether one more source has room in the log: whoever knocks draws keys at will."""
        since, told = self._told.get(peer, (now, 0))
        if now - since >= LOG_EVERY:
            since, told = now, 0
        self._told[peer] = since, told + 1
        return told < SOURCES_TOLD


class Doors:
    """Which words a peer may say, and to which actor: `{peer}` is the name of the peer.

    `tells` maps a wire word to the one actor that hears it; `answers` are the words that may
    come as an answer, to any of those actors. What is not listed is shut. `askers` are actors that
    get the answers named with them, and no others.
    """

    def __init__(
        self,
        tells: Mapping[str, str],
        answers: Collection[str],
        askers: Mapping[str, Collection[str]] = MappingProxyType({}),
    ) -> None:
        self._tells, self._answers = dict(tells), frozenset(answers)
        self._askers = tuple(dict.fromkeys(self._tells.values()))
        self._own = {name: frozenset(words) for name, words in askers.items()}

    def check(self, envelope: Envelope) -> None:
        """Raise `Malformed` with a reason if its sender's node may not say this to its reader."""
        word, to, peer = envelope.body.word, envelope.to.name, envelope.sender.node
        if envelope.answer:
            if word not in self._own.get(to, self._answers):
                raise Malformed(f"{word} is no answer", "no_answer")
            if to not in self._own and all(to != it.format(peer=peer) for it in self._askers):
                raise Malformed(f"{to} asks no peer", "other_actor")
            return
        door = self._tells.get(word)
        if door is None:
            raise Malformed(f"peers do not say {word}", "shut_word")
        if to != door.format(peer=peer):
            raise Malformed(f"{word} is not for {to}", "other_actor")


class Doorman:
    """Admits or refuses every frame that comes to a process of `node`.

    `sealers` holds one sealer for each other process of the same node, by process name; `roles`
    says what those may say. Without it they say nothing. `greeted` tells whether one of them is
    heard already; `refused` hears which of them was refused something, and why. `declined` hears
    which question of a peer was refused, and the reason: it may be answered so.
    """

    def __init__(
        self,
        node: str,
        doors: Doors,
        sealers: Mapping[str, Sealer],
        refusals: Refusals,
        roles: Roles | None = None,
        *,
        greeted: Callable[[str, Envelope], bool] = lambda *_: True,
        refused: Callable[[str, str], None] = lambda *_: None,
        declined: Callable[[Question, str], None] = lambda *_: None,
    ) -> None:
        self._declined = declined
        self._node, self._doors, self._sealers = node, doors, dict(sealers)
        self._refusals, self._roles = refusals, roles or Roles({}, (), lambda _: "")
        self._greeted, self._refused = greeted, refused

    def admit(self, node: str, process: str, octets: bytes) -> Envelope | None:
        """Build the envelope that the authenticated process sent; None if it is refused."""
        try:
            return self.check(node, process, octets)
        except Malformed as no:
            known = node == self._node and process in self._sealers
            peer, source = (f"{node}/{process}", no.reason) if known else (node, "")
            self._refusals.note(peer, no.reason, str(no), source)
            if known:
                self._refused(process, no.reason)
            elif node != self._node and no.asked and no.asked.to.node == self._node:
                self._declined(no.asked, no.reason)
            return None

    def check(self, node: str, process: str, octets: bytes) -> Envelope:
        """Build the envelope, or raise `Malformed` with the reason."""
        if len(octets) > MAX_FRAME:
            raise Malformed(f"{len(octets)} octets", "oversized")
        if node == self._node:
            sealer = self._sealers.get(process)
            if sealer is None:
                raise Malformed(f"no process {process} here", "stranger")
            envelope = decode(octets, node, sealer)
        else:
            envelope = decode(octets, node)
        if envelope.to.node != self._node:
            raise Malformed("addressed to another node", "other_node")
        if node == self._node:
            self._roles.check(process, envelope)
            if not self._greeted(process, envelope):
                raise Malformed(f"{process} has not been greeted", "before_hello")
        else:
            try:
                self._doors.check(envelope)
            except Malformed as no:
                no.asked = question_of(envelope)
                raise
        return envelope
