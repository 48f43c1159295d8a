"""What is asked of a device, what it answers, and what goes wrong: values, and how they are read.

Sizes are bits, as in ETSI GS QKD 014, unless a name says octets.
"""

import binascii
import re
from dataclasses import dataclass
from typing import Any

import msgspec

from actors.modules.datagram import MAX_PAYLOAD
from actors.modules.devices.device import DeviceError, DeviceKey
from actors.modules.etsi014.quirks import Dialect
from actors.protocol.links import sound
from transport.message import Secret

INT32 = (1 << 31) - 1
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HALF = 0.5


@dataclass(frozen=True, slots=True)
class GetStatus:
    """How many keys are there (6.1)?"""


@dataclass(frozen=True, slots=True)
class EncKeys:
    """Give new keys (6.2)."""

    number: int
    size: int


@dataclass(frozen=True, slots=True)
class DecKeys:
    """Give the keys that the other end's device gave (6.4)."""

    key_ids: tuple[str, ...]


Request = GetStatus | EncKeys | DecKeys


@dataclass(frozen=True, slots=True)
class Status:
    """What a device says of itself, as far as it is used here."""

    key_size: int
    stored: int
    per_request: int
    max_size: int
    min_size: int
    qber: float | None = None


@dataclass(frozen=True, slots=True)
class Container:
    """Some keys, in the order of the answer."""

    keys: tuple[DeviceKey, ...]
    qber: float | None = None


Answer = Status | Container


class _Status(msgspec.Struct):
    master_SAE_ID: str  # noqa: N815 -- the standard's names, here and below
    slave_SAE_ID: str  # noqa: N815
    key_size: int
    stored_key_count: int
    max_key_count: int
    max_key_per_request: int
    max_key_size: int
    min_key_size: int
    status_extension: dict[str, Any] = msgspec.field(default_factory=dict)


class _Key(msgspec.Struct):
    key_ID: str  # noqa: N815
    key: str
    key_extension: dict[str, Any] = msgspec.field(default_factory=dict)


class _Container(msgspec.Struct):
    keys: list[_Key]


class _CapitalContainer(msgspec.Struct):
    keys: list[_Key] = msgspec.field(name="Keys")


class _Error(msgspec.Struct):
    message: str = ""


def read_status(body: bytes, sae: str, far_sae: str) -> Status:
    """Read table 9; `DeviceError` if it contradicts itself, or speaks of other SAEs."""
    found = _decode(body, _Status)
    if sae and found.master_SAE_ID != sae:
        raise _malformed("the status is for another SAE than ours: see the certificate")
    if found.slave_SAE_ID != far_sae:
        raise _malformed("the status is about another slave SAE than the one asked for")
    sizes = 0 < found.min_key_size <= found.key_size <= found.max_key_size <= INT32
    counts = 0 <= found.stored_key_count <= found.max_key_count <= INT32
    if not (sizes and counts and 0 < found.max_key_per_request <= INT32):
        raise _malformed("the numbers of the status contradict each other")
    if found.key_size % 8:
        raise _malformed(f"key_size is {found.key_size}, no multiple of 8")
    return Status(
        key_size=found.key_size,
        stored=found.stored_key_count,
        per_request=found.max_key_per_request,
        max_size=found.max_key_size,
        min_size=found.min_key_size,
        qber=_qber(found.status_extension),
    )


def read_new(body: bytes, asked: EncKeys, dialect: Dialect) -> Container:
    """Read the answer of enc_keys: no more keys than asked for, each of the size asked for."""
    found = _container(body, dialect)
    if len(found.keys) > asked.number:
        raise _malformed(f"{len(found.keys)} keys came, {asked.number} were asked for")
    if any(8 * len(key.octets) != asked.size for key in found.keys):
        raise _malformed(f"keys of another size came than {asked.size} bits")
    return found


def read_named(body: bytes, asked: DecKeys, dialect: Dialect) -> Container:
    """Read the answer of dec_keys: the keys asked for, each once."""
    found = _container(body, dialect)
    if sorted(key.key_id.lower() for key in found.keys) != sorted(map(str.lower, asked.key_ids)):
        raise _malformed("other keys came than those asked for")
    return found


def read_message(body: bytes) -> str:
    """Return what an error answer says, cut and printable; empty if it says nothing."""
    try:
        said = msgspec.json.decode(body, type=_Error).message
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return ""
    return "".join(each if each.isprintable() else "?" for each in said[:120])


def _container(body: bytes, dialect: Dialect) -> Container:
    kind = _CapitalContainer if dialect.capital_keys else _Container
    rows: list[_Key] = _decode(body, kind).keys
    qber = next((value for row in rows if (value := _qber(row.key_extension)) is not None), None)
    return Container(tuple(_key(row, dialect) for row in rows), qber)


def _key(row: _Key, dialect: Dialect) -> DeviceKey:
    if not (sound((row.key_ID,)) and (dialect.any_key_id or _UUID.fullmatch(row.key_ID))):
        raise _malformed("a key_ID is no UUID")
    try:
        octets = binascii.a2b_base64(row.key, strict_mode=True)
    except ValueError:
        raise _malformed("a key is no base64") from None
    if not 0 < len(octets) <= MAX_PAYLOAD:
        raise _malformed(f"a key has {len(octets)} octets: not 1 to {MAX_PAYLOAD}")
    return DeviceKey(row.key_ID, Secret(octets))


def _qber(extension: dict[str, Any]) -> float | None:
    """Return what an extension says under `qber`, or `vendor_qber`; 0 to 0.5, else nothing."""
    for name, value in extension.items():
        if name.lower() == "qber" or name.lower().endswith("_qber"):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            return float(value) if number and 0 <= value <= _HALF else None
    return None


def _decode(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as why:  # it names the place and the type, no value
        raise _malformed(f"the answer is not that of ETSI GS QKD 014: {why}") from None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise _malformed("the answer is no JSON") from None


def _malformed(text: str) -> DeviceError:
    return DeviceError("malformed", text)
