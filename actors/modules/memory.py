"""An emulated link inside one process: a pipe in memory, for tests and simulated networks.

The same datagrams as over UDP, with the same keys, checks and adversity, but no socket and no
thread: they reach the other end as a message, so whoever moves the clock moves the link too.
"""

from collections.abc import Sequence
from typing import Any

from actors.modules.emulated import Emulated, Emulation
from actors.modules.module import Host
from actors.modules.physical import Physical, physical
from transport.message import Secret


class Pipe:
    """Joins one sender and one receiver, of one life after the other.

    `delay_s` is how long datagrams travel, `glass` a fibre that makes the pace; the rest is as in
    `Emulation`. Its methods `sender` and `receiver` are what a `QuantumLink` is given to make
    its module:

        pipe = Pipe(rate_bit_s=1e6)
        a.spawn("quantum_link/b", QuantumLink, "b", pipe.sender)
        b.spawn("quantum_link/a", QuantumLink, "a", pipe.receiver)
    """

    def __init__(
        self, *, delay_s: float = 0.0, glass: Physical | None = None, **emulation: Any
    ) -> None:
        self.delay_s, self._glass = delay_s, glass
        self.far: Host | None = None
        """The receiving link; a fresh one takes the place of one that died."""
        secret = emulation.pop("secret", Secret(bytes(32)))
        self._sender = Emulation(role="sender", secret=secret, **emulation)
        self._receiver = Emulation(role="receiver", secret=secret)

    def sender(self) -> Emulated:
        """Make the module of the sending link."""
        end = PipeEnd(self, receives=False)
        if self._glass:
            return physical(self._glass, self._sender, end)
        return Emulated(self._sender, end)

    def receiver(self) -> Emulated:
        """Make the module of the receiving link."""
        return Emulated(self._receiver, PipeEnd(self, receives=True))


class PipeEnd:
    """A `Wire`: one end of a pipe in memory."""

    def __init__(self, pipe: Pipe, *, receives: bool) -> None:
        self._pipe, self._receives = pipe, receives
        self._host: Host | None = None

    def start(self, host: Host) -> None:
        """Connect this end."""
        self._host = host
        if self._receives:
            self._pipe.far = host

    def open(self) -> None:
        """Nothing to do."""

    def send(self, datagrams: Sequence[bytes]) -> None:
        """Hand over to the other end; lost if there is none."""
        if self._pipe.far and datagrams:
            self._pipe.far.arrived(datagrams, self._pipe.delay_s)

    def taken(self) -> None:
        """Nothing to do."""

    def stop(self) -> None:
        """Disconnect this end."""
        if self._receives and self._pipe.far is self._host:
            self._pipe.far = None
