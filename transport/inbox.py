"""The one socket of a process that others connect to, shut to all whom the gate does not know."""

from typing import NamedTuple

import zmq

from transport.codec import MAX_FRAME
from transport.curve import DOMAIN, CurveKey
from transport.outbox import HANDSHAKE_MS, INBOX_FRAMES, MAX_MESSAGE

_IDLE_MS = 30_000
_PARTS_AT_ONCE = 512
"""Parts of refused messages that one look drops, so that nobody keeps the stage with them."""


class Arrival(NamedTuple):
    """One frame: the CURVE key (Z85) of its sender, its octets, or why it is not taken."""

    key: str
    octets: bytes
    fault: str = ""


class Inbox:
    """A bound PULL socket; for one thread."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], address: str, key: CurveKey
    ) -> None:
        self._more = False
        """Whether the message that is refused has more parts to come."""
        self.socket = context.socket(zmq.PULL)
        self.socket.linger = 0
        self.socket.curve_server = True
        self.socket.curve_secretkey = key.secret.reveal()
        self.socket.zap_domain = DOMAIN
        self.socket.zap_enforce_domain = True  # without it a missing gate admits everybody
        self.socket.maxmsgsize = MAX_MESSAGE
        self.socket.rcvhwm = INBOX_FRAMES
        self.socket.handshake_ivl = HANDSHAKE_MS
        self.socket.heartbeat_ivl = _IDLE_MS  # frees connections whose other end has vanished
        self.socket.ipv6 = "[" in address
        self.socket.bind(address)
        self.address = str(self.socket.get_string(zmq.LAST_ENDPOINT))

    def read(self) -> Arrival | None:
        """Return the next frame that has come in; None if there is none yet.

        A message of several parts is refused at its first one, and its other parts are dropped
        as they come. libzmq queues them without a limit until the last one has arrived, since it
        counts whole messages: only the peer's key and the memory of the process bound that.
        """
        key = ""
        for _ in range(_PARTS_AT_ONCE):
            # Asked first, since an exception costs ten times as much. It is an answer all the
            # same: libzmq tells of the user id that its own ZAP handler has named, although the
            # first message of that connection is not whole yet.
            if not int(self.socket.get(zmq.EVENTS)) & zmq.POLLIN:
                return None
            try:
                frame = self.socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return None
            key = str(frame.get("User-Id"))  # of the connection that this very frame came by
            dropped, self._more = self._more, frame.more
            if dropped:
                continue
            if frame.more:
                return Arrival(key, b"", "multipart")
            if len(frame) > MAX_FRAME:
                return Arrival(key, b"", "oversized")
            return Arrival(key, frame.bytes)
        return Arrival(key, b"", "multipart")
