"""What core asks a process of its node, itself included: how it is, and to reload."""

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from actors.protocol.siblings import AskProcess, ProcessStatus
from protokms.node.meter import MemoryMeter
from protokms.node.reload import Reloading
from transport.envelope import Address, Envelope

_DEATHS = "protokms_actor_deaths"


class System(Protocol):
    """The actors of the process."""

    def names(self) -> Sequence[str]:
        """Return the names of all that live."""
        ...

    def waiting(self) -> int:
        """Return how many messages wait for them."""
        ...

    def crashes(self) -> Mapping[str, str]:
        """Return what each that has crashed died of the last time."""
        ...


@dataclass(frozen=True, slots=True)
class Desk:
    """Answers for `node/<process>`, on any thread; what it does not know itself is a reload."""

    address: Address
    version: str
    system: System
    meter: MemoryMeter
    reloading: Reloading
    send: Callable[[Envelope], None]

    def tell(self, envelope: Envelope) -> None:
        """Take a question of core."""
        if not isinstance(envelope.body, AskProcess):
            self.reloading.tell(envelope)
        elif envelope.sender.node == self.address.node:
            to, token, trace = envelope.sender, envelope.token, envelope.trace
            self.send(Envelope(self.address, to, self.status(), token, True, trace))

    def status(self) -> ProcessStatus:
        """Tell how the process is; no text of an error, which could hold key bits."""
        crashes = [f"{name}: {why}" for name, why in self.system.crashes().items()]
        counted, _ = self.meter.samples()
        return ProcessStatus(
            process=self.address.name.partition("/")[2],
            host=socket.gethostname(),
            version=self.version,
            actors=tuple(self.system.names()),
            deaths=int(sum(it.value for it in counted if it.name == _DEATHS)),
            mailbox=self.system.waiting(),
            last_error=crashes[-1] if crashes else "",
        )
