"""The process that is the wire of a lab: a TAP device for each host, and what passes between them.

The devices live as long as this process has them open, in whichever namespace they are.
"""

import errno
import fcntl
import os
import random
import select
import struct
import time
from collections.abc import Sequence

from protokms.lab.wire import Conditions, Wire

DEVICE = "/dev/net/tun"
_SET_NAME = 0x400454CA  # TUNSETIFF
_TAP, _NO_HEADER = 0x0002, 0x1000  # IFF_TAP, IFF_NO_PI
_FRAME_MAX = 65_536
_AT_ONCE = 64  # frames of one host before others are looked at
_LOST = frozenset({errno.EAGAIN, errno.EIO, errno.ENOBUFS, errno.EINVAL})
"""The device is full, or down: what is written gets lost, as on any wire."""


def open_device(name: str) -> int:
    """Make a TAP device; it is gone when the descriptor is closed. `OSError` if it cannot be."""
    handle = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(handle, _SET_NAME, struct.pack("16sH22x", name.encode(), _TAP | _NO_HEADER))
    except BaseException:
        os.close(handle)
        raise
    return handle


def run(handles: Sequence[int], way: Conditions) -> None:
    """Carry frames between these devices for ever; their places are the numbers of the ports."""
    wire = Wire(len(handles), way, random.random)
    ports = {handle: port for port, handle in enumerate(handles)}
    while True:
        due = wire.next_due()
        wait = None if due is None else max(0.0, due - time.monotonic())
        for handle in select.select(handles, [], [], wait)[0]:  # epoll waits for whole ms alone
            _take(wire, handle, ports[handle])
        for one in wire.arrived(time.monotonic()):
            _give(handles[one.port], one.frame)


def _take(wire: Wire, handle: int, port: int) -> None:
    for _ in range(_AT_ONCE):
        try:
            frame = os.read(handle, _FRAME_MAX)
        except OSError as why:
            if why.errno in _LOST:
                return
            raise
        wire.send(port, frame, time.monotonic())


def _give(handle: int, frame: bytes) -> None:
    try:
        os.write(handle, frame)
    except OSError as why:
        if why.errno not in _LOST:
            raise
