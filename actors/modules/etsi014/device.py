"""The module `etsi014`: one end of a link whose bits come from a device behind ETSI GS QKD 014."""

from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_bytes

from actors.modules.devices.asker import Thread
from actors.modules.devices.device import Device
from actors.modules.devices.seen import SEEN_KEY, Seen
from actors.modules.etsi014.client import Access, Client
from actors.modules.etsi014.desk import Desk
from actors.modules.etsi014.quirks import dialect
from actors.modules.etsi014.talk import Answer, Request
from actors.modules.module import Module, Role

_KEY_BITS = (64, 512_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One `[[link]]` of a configuration with `module = "etsi014"`; `ValueError` for nonsense.

    `role` says which end asks its device for new keys (`sender`), or that both do, each for half
    of what there is. `key_bits` is the size to ask for, if not what suits the device; `quirks` are
    names of quirks.py.
    """

    role: Role
    access: Access
    key_bits: int = 0
    quirks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.role not in ("sender", "receiver", "both"):
            raise ValueError("role is sender, receiver or both")
        low, high = _KEY_BITS
        if self.key_bits and (not low <= self.key_bits <= high or self.key_bits % 8):
            raise ValueError(f"key_bits is {low} to {high}, a multiple of 8")
        dialect(self.quirks)


def factory(options: Options) -> Callable[[], Module]:
    """Return what a `QuantumLink` is given to make its module; its lives remember keys together."""
    seen = Seen(token_bytes(SEEN_KEY))

    def make() -> Module:
        quirks = dialect(options.quirks)
        desk = Desk(options.role, seen, size=options.key_bits, per_dec=int(quirks.get_only))
        asker = Thread[Request, Answer](Client(options.access, quirks), "etsi014")
        return Device[Request, Answer](options.role, desk, asker)

    return make
