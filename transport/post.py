"""The post: it owns every ZeroMQ socket of its process, on one stage, and nothing else touches one.

A ZeroMQ socket has a file descriptor that tells when to look at it again, and only then: hence
whoever is called reads until there is nothing more.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import zmq

from transport.codec import MAX_FRAME
from transport.curve import CurveError, CurveKey, Gate, explain
from transport.explained import Explained
from transport.inbox import Inbox
from transport.outbox import HANDSHAKE_MS, Outbox, Peer, destination
from transport.session import MISSED, Beat, Meter, Refusals, beat_of
from transport.stage import Stage, kind_and_place

Receive = Callable[[str, str, bytes], None]
"""Takes a frame: from which node, from which of its processes, the octets. Must be quick."""

News = Callable[[str, bool], None]
"""Hears that a destination is up, or down."""

KeyRefused = Callable[[str], None]
"""Hears that a destination does not know our key; again as long as that is so."""

Idled = Callable[[str], None]
"""Hears that a connection on demand was closed because nobody used it: no failure."""

STRANGER = "stranger"
"""The label under which those are counted who are nobody in the table."""

OPENING_S = 3.0
"""Seconds, beside three heartbeats, after which a connection on demand counts as down."""

_SOCKETS = 4096
_BURST = 512  # frames taken in before the outboxes get their turn
_JOIN = 5.0


class PostError(Explained, RuntimeError):
    """The post cannot start; the text names the address and says why."""


@dataclass(frozen=True, slots=True)
class PostOptions:
    """Who we are, where our inbox is (`tcp://HOST:PORT`), and the limits of each outbox.

    Processes of the same node have a heartbeat of their own: it is to be noticed soon if one dies.
    """

    node: str
    process: str
    bind: str
    key: CurveKey
    heartbeat_s: float = 1.0
    sibling_heartbeat_s: float = 0.2
    idle_s: float = 300.0
    queue_frames: int = 10_000
    queue_octets: int = 64 << 20


class _Table(NamedTuple):
    """Replaced as a whole, never changed, so that every thread may read it."""

    by_name: dict[str, Outbox]
    by_key: dict[str, Outbox]


class Post:
    """Carries frames between processes: at most once, in order while a connection lasts.

    With a lazy peer there is a connection when somebody has posted a frame (that one is a dead
    letter) or when the peer says hello, until neither has said anything for `idle_s`.

    `receive` and `news` are called on the stage and must not block. `fatal` is called once, there,
    if the post dies: the process cannot go on without it. Who gives it a `stage` stops that, later.
    """

    def __init__(
        self,
        options: PostOptions,
        *,
        receive: Receive,
        news: News,
        meter: Meter,
        fatal: Callable[[str], None],
        refusals: Refusals | None = None,
        stage: Stage | None = None,
        idled: Idled | None = None,
        key_refused: KeyRefused = lambda _: None,
    ) -> None:
        self._options, self._meter, self._own_stage = options, meter, stage is None
        self._stage = stage or Stage(f"{options.node}/post", fatal)
        self._receive, self._news, self._fatal = receive, news, fatal
        self._key_refused = key_refused
        self._idled = idled or (lambda name: news(name, False))
        self._refusals = refusals or Refusals(meter)
        self._table = _Table({}, {})
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._connected: list[Outbox] = []
        self._running = self._changed = self._awake = False
        self._patience = OPENING_S + MISSED * options.heartbeat_s
        self._send = self._guarded(self._flush_all)
        self._alarm: asyncio.TimerHandle | None = None
        self._pace = options.heartbeat_s
        """Seconds until the next look at heartbeats: the shortest of those who are connected."""
        self._ended = threading.Event()
        self.address = options.bind

    # Any thread

    def start(self) -> None:
        """Bind the inbox behind a gate that works, then run; `PostError` if that fails."""
        self._context.set(zmq.MAX_SOCKETS, _SOCKETS)
        try:
            self._gate = Gate(self._context, lambda key: key in self._table.by_key)
            self._gate.probe()
            self._inbox = Inbox(self._context, self._options.bind, self._options.key)
        except (CurveError, zmq.ZMQError) as why:
            self._context.destroy(linger=0)
            self._stop_stage()
            raise PostError(explain(why, self._options.bind)) from None
        self.address = self._inbox.address
        self._running = True
        self._stage.soon(self._guarded(self._begin))

    def stop(self) -> None:
        """Say goodbye, close every socket; harmless when that is done, and without a start."""
        if not self._running:
            self._context.destroy(linger=0)
            return
        if self._stage.here:
            self._close(Beat.GONE)
        else:
            self._stage.soon(partial(self._close, Beat.GONE))
            self._ended.wait(_JOIN)
        self._context.destroy()
        self._stop_stage()

    def post(self, name: str, octets: bytes) -> bool:
        """Queue a frame for a destination; never blocks. False: it is a dead letter, counted."""
        outbox = self._table.by_name.get(name)
        if outbox is None:
            return self._dead("absent", STRANGER)
        if len(octets) > MAX_FRAME:
            return self._dead("oversized", name)
        if refusal := outbox.put(octets):
            if refusal == "opening":
                self._changed = True
                self._rouse()
            return self._dead(refusal, name)
        self._rouse()
        return True

    def set_peers(self, peers: Iterable[Peer]) -> None:
        """Replace the table; who is not in it any more is not heard from now on.

        Call it before `start` too: who knocks before he is known tries again 2 s later.
        `ValueError` if two have one name or one key, or one has ours.
        """
        options, old = self._options, self._table.by_name
        outboxes = []
        for peer in peers:
            known = old.get(peer.name)
            sibling = peer.node == options.node
            beat_s = options.sibling_heartbeat_s if sibling else options.heartbeat_s
            limits = beat_s, options.queue_frames, options.queue_octets
            outboxes.append(known if known and known.peer == peer else Outbox(peer, *limits))
        table = _Table(
            {outbox.peer.name: outbox for outbox in outboxes},
            {outbox.peer.curve: outbox for outbox in outboxes},
        )
        if not len(table.by_name) == len(table.by_key) == len(outboxes):
            raise ValueError("two processes have one name or one CURVE key")
        own = destination(options.node, options.process)
        if own in table.by_name or options.key.public in table.by_key:
            raise ValueError("a process is not its own peer")
        self._table, self._changed = table, True
        self._rouse()

    def _rouse(self) -> None:
        if self._running and not self._awake:
            self._awake = True
            self._stage.soon(self._send)

    def _stop_stage(self) -> None:
        if self._own_stage:
            self._stage.stop()

    def _dead(self, reason: str, name: str) -> bool:
        self._meter.add("protokms_dead_letters", reason=reason, peer=name)
        return False

    # On the stage

    def _guarded(self, act: Callable[[], None]) -> Callable[[], None]:
        """Make of an act one that ends the post if it fails."""

        def guarded() -> None:
            try:
                if self._running:
                    act()
            except BaseException as why:
                self._close(None)
                self._context.destroy()
                self._fatal(f"post: {kind_and_place(why)}")

        return guarded

    def _begin(self) -> None:
        loop = self._stage.loop
        loop.add_reader(self._gate.socket.fileno(), self._guarded(self._admit))
        loop.add_reader(self._inbox.socket.fileno(), self._guarded(self._drain))
        self._beat()
        self._admit()
        self._drain()

    def _beat(self) -> None:
        """Do what is due every heartbeat."""
        self._drain()  # first: we may have slept, the peers may not have
        now = time.monotonic()
        self._tick(now)
        self._flush_all()
        self._arm()

    def _arm(self) -> None:
        if self._alarm:
            self._alarm.cancel()
        self._alarm = self._stage.loop.call_later(self._pace, self._guarded(self._beat))

    def _flush_all(self) -> None:
        self._awake = False  # before the queues are looked at: a later `put` asks again
        if self._changed:
            self._reconcile()
        for outbox in self._connected:
            if outbox.pending:
                self._flush(outbox)

    def _admit(self) -> None:
        for who in self._gate.answer():
            why = f"turned away at the gate: {who.address} shows a key that begins {who.key!r}"
            self._refusals.note(STRANGER, "unknown_key", why, who.key)

    def _drain(self) -> None:
        for _ in range(_BURST):
            arrived = self._inbox.read()
            if arrived is None:
                break
            outbox = self._table.by_key.get(arrived.key)
            if outbox is None:
                why = "its key is not in the table any more"
                self._refusals.note(STRANGER, "unknown_key", why)
            elif arrived.fault:
                self._refusals.note(outbox.peer.node, arrived.fault)
            else:
                self._take(outbox, arrived.octets)
        else:  # there may be more, of which the descriptor does not tell
            self._stage.soon(self._guarded(self._drain))
        self._flush_all()

    def _take(self, outbox: Outbox, octets: bytes) -> None:
        beat, now = beat_of(octets), time.monotonic()
        peer, foreign = outbox.peer.node, outbox.peer.node != self._options.node
        if beat and foreign and outbox.quota.muted(now):
            self._refusals.note(peer, "flapping", "it came up and went down too often")
            return
        if not outbox.wanted:
            if beat is not Beat.HELLO:  # said before it has heard that this connection was closed
                if beat is None:
                    self._refusals.note(peer, "before_hello")
                return
            outbox.begin(now, self._patience)
            self._reconcile()
        if outbox.session.hear(beat or Beat.UP, now):
            outbox.quota.turned(now)
            if beat is Beat.IDLE and outbox.peer.lazy:
                self._sleep(outbox, None)
            else:
                self._turned(outbox)
        if beat:
            return
        if foreign and not outbox.quota.frame(len(octets), now):
            self._refusals.note(peer, "flood", "more than a peer may say in this time")
        elif outbox.session.up:
            outbox.received += 1
            began = time.thread_time()
            try:
                self._receive(peer, outbox.peer.process, octets)
            except Exception as why:  # a fault of ours: one frame of a peer must not end the post
                self._refusals.note(peer, "crashed", kind_and_place(why))
            outbox.quota.read(time.thread_time() - began)
        else:
            self._refusals.note(peer, "before_hello")

    def _turned(self, outbox: Outbox) -> None:
        """Act on a new state of a session: say it to the peer at once, and to the node."""
        session = outbox.session
        if session.up:
            self._unwatch(outbox)
            outbox.open()
            self._tell(outbox, up=True)
        elif outbox.taking:
            self._lose(outbox)
            self._disconnect(outbox)  # what libzmq holds is out of date too
            self._connect(outbox)
            self._tell(outbox, up=False)
        outbox.beat(session.state)

    def _sleep(self, outbox: Outbox, last: Beat | None) -> None:
        """Close a connection that nobody uses."""
        was_up = outbox.taking
        self._lose(outbox)
        self._disconnect(outbox, last)
        outbox.session.forget()
        outbox.wanted, self._changed = False, True
        if was_up:
            self._meter.set("protokms_peer_up", 0.0, peer=outbox.peer.name)
            self._idled(outbox.peer.name)

    def _tell(self, outbox: Outbox, *, up: bool) -> None:
        name = outbox.peer.name
        self._meter.set("protokms_peer_up", float(up), peer=name)
        self._news(name, up)

    def _lose(self, outbox: Outbox) -> None:
        if lost := outbox.shut():
            self._meter.add("protokms_dead_letters", lost, reason="down", peer=outbox.peer.name)

    def _tick(self, now: float) -> None:
        for outbox in list(self._connected):
            if now < outbox.due:
                continue  # others have a faster heartbeat
            outbox.due = now + outbox.interval - self._pace / 2
            if outbox.idles(now, self._options.idle_s):
                self._sleep(outbox, Beat.IDLE)
                continue
            if outbox.is_missed(now):
                self._tell(outbox, up=False)
            if outbox.session.tick(now):
                self._turned(outbox)
            elif outbox.stale(now):
                self._disconnect(outbox)
                self._connect(outbox)
            elif not outbox.connected:
                self._connect(outbox)
            outbox.beat(outbox.session.state)
            for name, n in outbox.counted():
                self._meter.add(name, n, peer=outbox.peer.name)

    def _flush(self, outbox: Outbox) -> None:
        stuck = not outbox.flush()
        if stuck and not outbox.polled:
            self._stage.loop.add_reader(outbox.socket.fileno(), self._send)
        elif outbox.polled and not stuck:
            self._stage.loop.remove_reader(outbox.socket.fileno())
        outbox.polled = stuck

    def _reconcile(self) -> None:
        """Make the sockets fit the table."""
        self._changed, now = False, time.monotonic()
        table = self._table.by_name
        for outbox in self._connected:
            if table.get(outbox.peer.name) is outbox:
                continue
            was_up = outbox.taking
            self._lose(outbox)
            self._disconnect(outbox, Beat.GONE)
            if was_up:
                self._tell(outbox, up=False)
        wanted = [outbox for outbox in table.values() if outbox.wanted]
        for outbox in wanted:
            if not outbox.connected:
                outbox.begin(now, self._patience)
                self._connect(outbox)
        self._connected = wanted
        before, heartbeat_s = self._pace, self._options.heartbeat_s
        self._pace = min((outbox.interval for outbox in wanted), default=heartbeat_s)
        if self._pace < before:
            self._arm()

    def _connect(self, outbox: Outbox) -> None:
        fresh = not outbox.connected
        outbox.connect(self._context, self._options.key, v6="[" in self._options.bind)
        if fresh and outbox.events:
            hear = self._guarded(partial(self._hear_refusal, outbox))
            self._stage.loop.add_reader(outbox.events.fileno(), hear)
            hear()
        outbox.beat(outbox.session.state)

    def _hear_refusal(self, outbox: Outbox) -> None:
        if outbox.hear_refusal():
            again = self._guarded(partial(self._try_again, outbox, outbox.socket))
            self._stage.loop.call_later(HANDSHAKE_MS / 1000, again)
            self._key_refused(outbox.peer.name)

    def _try_again(self, outbox: Outbox, refused: zmq.Socket[bytes]) -> None:
        """Connect anew where our key was refused, as libzmq does not: it may be known by now."""
        if outbox.connected and outbox.socket is refused:
            self._disconnect(outbox)
            self._connect(outbox)
            self._flush(outbox)

    def _unwatch(self, outbox: Outbox) -> None:
        if outbox.events:
            self._stage.loop.remove_reader(outbox.events.fileno())
            outbox.unwatch()

    def _disconnect(self, outbox: Outbox, last: Beat | None = None) -> None:
        if outbox.polled:
            self._stage.loop.remove_reader(outbox.socket.fileno())
            outbox.polled = False
        self._unwatch(outbox)
        outbox.close(last)

    def _close(self, last: Beat | None) -> None:
        if not self._running:
            return
        self._running = False
        if self._alarm:
            self._alarm.cancel()
        for outbox in (*self._connected, *self._table.by_name.values()):
            outbox.shut()
        for outbox in self._connected:
            self._disconnect(outbox, last)
        for each in (self._gate.socket, self._inbox.socket):
            self._stage.loop.remove_reader(each.fileno())
            each.close()
        self._ended.set()
