"""What an operator may set for an ETSI GS QKD 014 front end; the `[etsi014]` table of a node."""

from typing import Literal

import msgspec

SaeIdFrom = Literal["cn", "san_uri", "san_dns", "fingerprint"]

_INT32 = (1 << 31) - 1


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to listen, whom to believe, what to offer, how much to bear.

    Sizes of keys are in bits, sizes of HTTP parts in octets, times in seconds. Paths are used as
    they are: whoever reads a config file makes them absolute. `ValueError` if values contradict.
    """

    bind: str
    certificate: str
    key: str
    client_ca: str
    sae_id_from: SaeIdFrom = "cn"
    deny: tuple[str, ...] = ()
    crl: str | None = None

    key_size_bits: int = 256
    min_key_size_bits: int = 64
    max_key_size_bits: int = 8192
    max_keys_per_request: int = 128
    max_sae_id_count: int = 16
    allow_loopback_pairs: bool = False

    max_body_octets: int = 65_536
    max_head_octets: int = 8_190
    max_head_fields: int = 64
    max_in_flight: int = 512
    max_in_flight_per_sae: int = 128
    max_connections: int = 512
    max_connections_per_sae: int = 128
    max_handshakes: int = 64

    request_timeout_s: float = 5.0
    handshake_timeout_s: float = 10.0
    head_timeout_s: float = 10.0
    body_timeout_s: float = 10.0
    write_timeout_s: float = 10.0
    idle_timeout_s: float = 75.0
    drain_timeout_s: float = 10.0

    def __post_init__(self) -> None:
        address(self.bind)
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if name.startswith("max_") and not 0 <= value <= _INT32:
                raise ValueError(f"{name} = {value}: a number from 0 to {_INT32}")
            if name.startswith("max_") and name != "max_sae_id_count" and value == 0:
                raise ValueError(f"{name} = 0: nobody would be served")
            if name.endswith("_s") and not 0 < value <= 86_400:  # noqa: PLR2004 - a day
                raise ValueError(f"{name} = {value}: more than 0 and at most 86400 seconds")
        sizes = (self.min_key_size_bits, self.key_size_bits, self.max_key_size_bits)
        if not 0 < sizes[0] <= sizes[1] <= sizes[2]:
            raise ValueError("0 < min_key_size_bits <= key_size_bits <= max_key_size_bits")
        if any(bits % 8 for bits in sizes):
            raise ValueError("key sizes are multiples of 8 bits")


def address(bind: str) -> tuple[str, int]:
    """Split `host:port` or `[host]:port`; `ValueError` if it is neither."""
    host, colon, port = bind.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) <= 0xFFFF):  # noqa: PLR2004
        raise ValueError(f"bind = {bind!r}: write host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)
