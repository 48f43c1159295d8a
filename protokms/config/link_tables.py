"""What a `[[link]]` says of its module beside what every link says: a fibre, or a device."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from actors.protocol.limits import limit
from etsi.http.options import File, Text

DEVICE = "etsi014"
"""The kind of module, and of the table of a link, for a device behind ETSI GS QKD 014."""

STREAM = "etsi004"
"""The same for a device behind ETSI GS QKD 004."""

EMULATED, PHYSICAL = "emulated", "physical"

KINDS = (EMULATED, PHYSICAL, DEVICE, STREAM)
"""The kinds of module that are here; any other name stands for one of another package."""

INTERFACE_KINDS = (EMULATED, PHYSICAL)
"""Those of them that an `[[interface]]` may have."""

Share = Annotated[float, Meta(ge=0, le=1, description="write a share between 0 and 1")]
HalfShare = Annotated[float, Meta(ge=0, le=0.5, description="write a share between 0 and 0.5")]
Heard = Annotated[
    list[tuple[Annotated[float, Meta(ge=0, le=1e9)], Annotated[float, Meta(gt=0, le=1e9)], Share]],
    Meta(max_length=1_000, description="write a list of [start, length, share], in seconds"),
]
Efficiency = Annotated[float, Meta(ge=1e-6, le=1, description="write 0.000001 to 1")]
Dark = Annotated[float, Meta(ge=0, le=0.1, description="write 0 to 0.1 counts a gate")]
Qber = Annotated[float, Meta(gt=0, le=0.5, description="write a share above 0, at most 0.5")]
Protocol = Annotated[Literal["decoy_bb84", "bbm92"], Meta(description="write decoy_bb84 or bbm92")]


class Glass(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a link with `module = "physical"` says of its fibre; the rest is as of an emulated one.

    What is left out is as `actors.modules.glass` and `actors.modules.physical` have it.
    """

    fibre_km: Annotated[float, limit(0, 1_000, "km")] | None = None
    protocol: Protocol | None = None
    loss_db_km: Annotated[float, limit(0, 10, "dB/km")] | None = None
    extra_loss_db: Annotated[float, limit(0, 100, "dB")] | None = None
    gates_hz: Annotated[float, limit(1, 1e12, "pulses a second")] | None = None
    block_gates: Annotated[float, limit(1e4, 1e15, "pulses")] | None = None
    efficiency: Efficiency | None = None
    dark: Dark | None = None
    misalignment: HalfShare | None = None
    qber_max: Qber | None = None
    drift: HalfShare | None = None
    drift_s: Annotated[float, limit(1, 1e7, "seconds")] | None = None
    eavesdropping: Heard | None = None


Url = Annotated[
    str,
    Meta(
        pattern=r"^https://[^\s/?#@]+(/[^\s?#]*)?\Z",
        description="write a URL like 'https://device-1.example:443'",
    ),
]


class OurSide(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is shown to a device at this end: our certificate and its key; `ca` signs the device's.

    `server_name` is that in the certificate of the device, if it is not the host of its URL.
    """

    certificate: File
    key: File
    ca: File
    server_name: Text | None = None
    timeout_s: Annotated[float, limit(0.1, 60, "seconds")] = 5.0


class Device(OurSide, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[link.etsi014]`: the device at this end, and the SAEs at both ends as the devices know them.

    `certificate` and `key` are those of `sae`.
    """

    url: Url
    far_sae: Text
    sae: Text | None = None
    key_bits: Annotated[int, limit(64, 512_000, "bits")] | None = None
    quirks: list[Text] = []


TlsUrl = Annotated[
    str,
    Meta(
        pattern=r"^tls://[^\s/?#@]+\Z",
        description="write a URL like 'tls://device-1.example:25575'",
    ),
]
Application = Annotated[
    str,
    Meta(
        max_length=1_000,
        pattern=r"^[A-Za-z][A-Za-z0-9+.-]*://[!-~]+\Z",
        description="write a URI like 'client://kms-1'",
    ),
]
Rate = Annotated[int, limit(0, 4_294_967_295, "bit/s")]


class KeyStream(OurSide, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[link.etsi004]`: the device at this end, the applications at both ends, and the stream.

    `chunk_octets` is read at once; of the rest of the quality of service 0 is as the device likes.
    """

    url: TlsUrl
    source: Application
    destination: Application
    edition: int = 2
    chunk_octets: Annotated[int, limit(1, 64_000, "octets")] = 32
    max_bit_s: Rate = 0
    min_bit_s: Rate = 0
    priority: Annotated[int, limit(0, 4_294_967_295, "as the device has it")] = 0
    ttl_s: Annotated[int, limit(0, 4_294_967_295, "seconds")] = 0
