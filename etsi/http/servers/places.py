"""Places of front ends that share one address: each process has its own, and no other has it."""

import errno
import hashlib
import socket
from contextlib import ExitStack

from transport.binding import CannotBind, cannot_bind
from transport.endpoint import Endpoint


def claim(bind: Endpoint, number: int) -> socket.socket:
    """Take place `number` at an address until the socket is closed; `CannotBind`: it is taken.

    The kernel lets any process of the same user share an address, one of another node as well.
    The place is a name that only one process can bind, on the host where the address is.
    """
    name = hashlib.sha256(f"{bind} {number}".encode()).hexdigest()[:32]
    with ExitStack() as undo:
        made = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        try:
            made.bind(f"\0protokms-{name}")
        except OSError as why:
            if why.errno != errno.EADDRINUSE:
                raise cannot_bind(str(bind), why) from why
            reason = f"{bind} is served by another process, as front end {number} of its node"
            remedy = "end that process, or give each node an address of its own"
            raise CannotBind(reason, remedy, why.errno, passes=False) from why
        undo.pop_all()
        return made
