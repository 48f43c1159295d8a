"""What an operator may set for any HTTPS front end: where to listen, whom to believe, how much."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from actors.protocol.limits import Switch, limit
from transport.endpoint import Endpoint

PAIR, CLIENT_CA, DENY = "certificate", "client_ca", "deny"
"""Parts that may be told to keep their last value; what is new of a deny list counts beside it."""

ID_OCTETS_MAX = 512
"""Octets of the id of an SAE or KME, at most, in UTF-8; 014 has no limit."""

Text = Annotated[
    str,
    Meta(
        pattern=r"^[^\x00-\x1f\x7f]{1,512}\Z",
        description="write 1 to 512 characters, none of them a control character",
    ),
]
File = Annotated[Path, Meta(description="write the path of a file, relative to this one")]
Bind = Annotated[Endpoint, Meta(description="write an address like '127.0.0.1:18001'")]


def id_too_long(text: str) -> str:
    """Tell by how much an id is too long, or nothing."""
    octets = len(text.encode(errors="surrogatepass"))
    return f"has {octets} octets, more than {ID_OCTETS_MAX}" if octets > ID_OCTETS_MAX else ""


def id_fault(text: str) -> str:
    """Tell what is wrong with the id of an SAE, or nothing: to 014 it is just a text."""
    if not text:
        return "is empty"
    bad = next((char for char in text if not char.isprintable()), "")
    return f"holds {bad!a}, which cannot be printed" if bad else id_too_long(text)


SaeIdFrom = Literal["cn", "san_uri", "san_dns", "fingerprint", "table"]


class SaeRow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[etsi014.sae]]`: a certificate, and the SAE it stands for; only it speaks for that SAE.

    Exactly one of `fingerprint`, `subject`, `san_dns` and `san_uri`; all but the first with `ca`,
    by name or fingerprint: that CA has issued it, or stands above the one that has.
    """

    id: Text
    fingerprint: Text | None = None
    subject: Text | None = None
    san_dns: Text | None = None
    san_uri: Text | None = None
    ca: Text | None = None


class AuthorityRow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[etsi014.authority]]`: a CA, by name or fingerprint, and the SAEs that it may name.

    It may name no others, and no other CA may name these. `"abc*"` is all that begin with abc.
    """

    ca: Text
    saes: Annotated[list[Text], Meta(description="write a list of SAE ids, or 'abc*'")]


class HttpOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys that any front end has; the table of each adds its own.

    `client_ca` signs the certificates of SAEs, and `server_ca` (by default the same) ours.
    `brainpool`: SAEs may have keys on Brainpool curves; whoever starts the process sees to that.
    Limits hold for what is under way at one time. The metadata of a type is checked by whoever
    reads a configuration; here values are used as they are.
    """

    bind: Bind
    certificate: File
    key: File
    client_ca: File
    server_ca: File | None = None
    crl: File | None = None
    sae_id_from: Annotated[
        SaeIdFrom, Meta(description="write cn, san_uri, san_dns, fingerprint or table")
    ] = "cn"
    brainpool: Switch = False
    deny: Annotated[
        tuple[Text, ...],
        Meta(max_length=100_000, description="write a list of SAE ids or fingerprints"),
    ] = ()
    saes: list[SaeRow] = field(name="sae", default=[])
    authorities: list[AuthorityRow] = field(name="authority", default=[])
    max_body_octets: Annotated[int, limit(1_024, 1 << 24, "octets")] = 65_536
    max_in_flight: Annotated[int, limit(1, 65_536, "requests")] = 512
    max_in_flight_per_sae: Annotated[int, limit(1, 65_536, "requests")] = 128
    max_connections: Annotated[int, limit(1, 65_536, "connections")] = 512
    max_connections_per_sae: Annotated[int, limit(1, 65_536, "connections")] = 128
    max_handshakes: Annotated[int, limit(1, 65_536, "handshakes")] = 64
    request_timeout_s: Annotated[float, limit(0.1, 3_600, "seconds")] = 5.0


H = TypeVar("H", bound=HttpOptions)

RESTART = ("bind", "request_timeout_s", "brainpool", "applications")
"""What no reload changes: where to listen, a time that stores are told, curves of OpenSSL."""


SPLIT = (
    "max_in_flight",
    "max_in_flight_per_sae",
    "max_connections",
    "max_connections_per_sae",
    "max_handshakes",
)
"""Limits of a node that several front ends divide among them."""

SLACK = 1.25
"""Each has a quarter more than its part: the kernel spreads connections by hash, not evenly."""


def portion(values: Mapping[str, Any], of: int) -> dict[str, Any]:
    """Return values of fields as one of so many front ends of a node uses them."""
    limits = {name: it for name, it in values.items() if name in SPLIT}
    cut = {name: min(it, math.ceil(SLACK * it / of)) for name, it in limits.items()}
    return {**values, **cut}


def packed(values: Mapping[str, Any]) -> str:
    """Write values of fields as a text, for another process of the node.

    Left out are those in `RESTART`, and the deny list, which has a place of its own in `Reload`.
    """
    plain = {name: it for name, it in values.items() if name not in (*RESTART, "deny")}
    return json.dumps(msgspec.to_builtins(plain, enc_hook=str))


def changed(options: H, text: str) -> H:
    """Return options with the values that `packed` has written."""
    kinds = {known.name: known.type for known in msgspec.structs.fields(type(options))}
    values = json.loads(text) if text else {}
    made = {
        name: msgspec.convert(value, kinds[name], dec_hook=lambda kind, given: kind(given))
        for name, value in values.items()
        if name in kinds
    }
    return msgspec.structs.replace(options, **made)


def differing(before: H, after: H) -> list[str]:
    """Return the keys of the configuration in which two differ."""
    return [
        known.encode_name
        for known in msgspec.structs.fields(type(after))
        if getattr(before, known.name) != getattr(after, known.name)
    ]
