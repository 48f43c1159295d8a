"""What is written to a connection, and whether the kernel has taken it."""

import asyncio
import select
from typing import cast

SMALL = 16_384
"""Octets that a socket whose buffer is empty takes at once."""

LOOK_AT_STREAM_S = 0.1
"""Seconds from one look at a stream to the next."""

_LOOK_AGAIN_S = 0.005
_LOOKS = 3
_GONE = select.POLLERR | select.POLLHUP | select.POLLNVAL


class Outlet:
    """The writing side of one connection."""

    __slots__ = ("_lost", "_socket", "_transport")

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._socket = cast(asyncio.Transport, transport), select.poll()
        self._lost = False
        self._socket.register(transport.get_extra_info("socket").fileno(), select.POLLOUT)

    @property
    def closing(self) -> bool:
        """Whether nothing can be written any more."""
        return self._lost or self._transport.is_closing()

    def lost(self) -> None:
        """Take note that the connection is no more: not all transports tell that of themselves."""
        self._lost = True

    def send(self, octets: bytes) -> None:
        """Write, without waiting; `ConnectionError` if the connection is no more."""
        if self.closing:
            raise ConnectionResetError("the connection was closed")
        self._transport.write(octets)

    def taken(self) -> bool:
        """Tell whether the kernel has taken all that was written; for no more than `SMALL` octets.

        `ConnectionError` if the connection broke before. The transports do not tell how much they
        still hold, only the TLS layer does; but they write at once, and when the kernel did not
        take all then the socket is not writable until it has room again.
        """
        transport = self._transport
        if self.closing:
            raise ConnectionResetError("the connection was closed")
        if transport.get_write_buffer_size():
            return False
        events = self._socket.poll(0)
        if events and events[0][1] & _GONE:
            raise ConnectionResetError("the connection was reset")
        return bool(events)

    async def flushed(self, look_again_s: float = _LOOK_AGAIN_S) -> None:
        """Wait until the kernel has taken all that was written, or raise `ConnectionError`."""
        looks = 0
        while looks < _LOOKS:  # room that has come just now is filled in the next turns
            looks = looks + 1 if self.taken() else 0
            await asyncio.sleep(0 if looks else look_again_s)

    def abort(self) -> None:
        """Drop the connection and what was not sent."""
        self._transport.abort()
