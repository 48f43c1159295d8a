"""The module `etsi004`: one end of a link whose bits come from a device behind ETSI GS QKD 004."""

from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_bytes

from actors.modules.devices.asker import Thread
from actors.modules.devices.device import Device
from actors.modules.devices.seen import SEEN_KEY, Seen
from actors.modules.etsi004.client import Access, Client
from actors.modules.etsi004.desk import Desk
from actors.modules.etsi004.talk import Answer, Request
from actors.modules.module import Module, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One `[[link]]` of a configuration with `module = "etsi004"`; `ValueError` for nonsense.

    `role` says which end opens a stream (`sender`), or that both do, each its own.
    """

    role: Role
    access: Access

    def __post_init__(self) -> None:
        if self.role not in ("sender", "receiver", "both"):
            raise ValueError("role is sender, receiver or both")


def factory(options: Options) -> Callable[[], Module]:
    """Return what a `QuantumLink` is given to make its module; its lives remember keys together."""
    seen = Seen(token_bytes(SEEN_KEY))

    def make() -> Module:
        asker = Thread[Request, Answer](Client(options.access), "etsi004")
        return Device[Request, Answer](options.role, Desk(options.role, seen, token_bytes), asker)

    return make
