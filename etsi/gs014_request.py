"""What an SAE asks of ETSI GS QKD 014, checked: queries, path style and JSON bodies.

JSON is read with the standard library, not with msgspec: the latter takes the last of two members
with one name in silence, and whoever sends two may mean the other one.
"""

import json
import re
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl

from actors.protocol import keys
from actors.protocol.common import Refused
from etsi import provenance
from etsi.options import Options
from etsi.reply import Problem, quoted

SIZE_8 = "size shall be a multiple of 8"
UNSUPPORTED = "not all extension_mandatory parameters are supported"
UNMET = "not all extension_mandatory request options could be met"

_DECIMAL = re.compile(r"[0-9]{1,10}", re.ASCII)
_POST_ONLY = frozenset(
    ("additional_slave_SAE_IDs", "extension_mandatory", "extension_optional", "key_IDs")
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request for new keys: how many, of how many bits, for which further SAEs.

    `provenance` is to be told if it is known, `insists` if it must be known.
    """

    number: int
    size: int
    additional: tuple[str, ...] = ()
    provenance: bool = False
    insists: bool = False


def malformed(text: str) -> Problem:
    """Return the problem of a request that is not as the standard asks."""
    return Problem(400, "malformed", text)


def query(text: str) -> dict[str, str]:
    """Read a query string; names that only a POST may carry, and repeated ones, are refused."""
    found: dict[str, str] = {}
    if not text:
        return found
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=32)
    except ValueError:
        raise malformed("the query cannot be read") from None
    for name, value in pairs:
        if name in found:
            raise malformed(f"{quoted(name)} appears twice in the query")
        if name in _POST_ONLY:
            raise malformed(f"{name} is for POST, not for a query")
        found[name] = value
    return found


def body(octets: bytes) -> dict[str, Any]:
    """Read a JSON object; no name may appear twice in one object."""
    if not octets:
        raise malformed("a POST needs a JSON object as body; {} will do")
    try:
        found = json.loads(octets.decode(), object_pairs_hook=_object, parse_constant=_constant)
    except (ValueError, RecursionError):
        raise malformed("the body is not JSON") from None
    if not isinstance(found, dict):
        raise malformed("the body is not a JSON object")
    return found


def wanted_by_query(values: dict[str, str], options: Options) -> Wanted:
    """Read `number` and `size` from a query or a path (014 6.2, GET)."""
    return _wanted(_decimal(values, "number"), _decimal(values, "size"), (), options)


def wanted_by_body(values: dict[str, Any], options: Options) -> Wanted:
    """Read a key request (014 6.2, POST)."""
    additional = values.get("additional_slave_SAE_IDs", [])
    if type(additional) is not list or not all(type(sae) is str for sae in additional):
        raise malformed("additional_slave_SAE_IDs is not an array of strings")
    if len(additional) > options.max_sae_id_count:
        most = options.max_sae_id_count
        raise malformed(f"additional_slave_SAE_IDs holds more than {most} SAE IDs")
    optional = _objects(values, "extension_optional")
    mandatory = _objects(values, "extension_mandatory")
    unknown = [name for row in mandatory for name in row if name != provenance.NAME]
    if unknown:
        names = (quoted(name)[1:-1] for name in unknown[:16])  # as they are, for programs
        details = ({"extension_mandatory_unsupported": name} for name in names)
        raise Problem(400, "extension_mandatory", UNSUPPORTED, *details)
    if any(type(value) is not bool for row in mandatory for value in row.values()):
        raise unmet()
    number, size = values.get("number"), values.get("size")
    for name, value in (("number", number), ("size", size)):
        if name in values and type(value) is not int:
            raise malformed(f"{name} is not an integer")
    insists = any(True in row.values() for row in mandatory)
    made = _wanted(number, size, tuple(dict.fromkeys(additional)), options)
    told = insists or any(row.get(provenance.NAME) is True for row in optional)
    return replace(made, provenance=told, insists=insists)


def unmet() -> Problem:
    """Return the problem of a mandatory extension that is known and cannot be met (014 6.2)."""
    return Problem(400, "extension_mandatory", UNMET)


def ids_by_query(values: dict[str, str]) -> list[str]:
    """Read the one `key_ID` of a query (014 6.4, GET)."""
    if "key_ID" not in values:
        raise malformed("key_ID is missing")
    return [values["key_ID"].lower()]


def ids_by_body(values: dict[str, Any], options: Options) -> list[str]:
    """Read the `key_IDs` of a body (014 6.4, POST); bare strings are taken for objects too."""
    rows = values.get("key_IDs")
    if type(rows) is not list or not rows:
        raise malformed("key_IDs is not an array of at least one key_ID")
    if len(rows) > options.max_keys_per_request:
        raise malformed(f"more than {options.max_keys_per_request} key_IDs in one request")
    found = [row.get("key_ID") if type(row) is dict else row for row in rows]
    ids = [text.lower() for text in found if type(text) is str]
    if len(ids) != len(rows):
        raise malformed("an entry of key_IDs holds no key_ID string")
    if len(set(ids)) != len(ids):
        raise malformed("the same key_ID appears twice")
    return ids


def names(ids: list[str]) -> tuple[keys.KeyName, ...]:
    """Read key_IDs; `Problem` if one is no UUID."""
    try:
        return tuple([keys.parse_key_id(text) for text in ids])
    except Refused as no:
        raise malformed(str(no)) from None


def _wanted(
    number: int | None, size: int | None, additional: tuple[str, ...], options: Options
) -> Wanted:
    number = 1 if number is None else number
    size = options.key_size_bits if size is None else size
    if not 1 <= number <= options.max_keys_per_request:
        raise malformed(f"number is not from 1 to {options.max_keys_per_request}")
    if size % 8:
        raise malformed(SIZE_8)
    least, most = options.min_key_size_bits, options.max_key_size_bits
    if not least <= size <= most:
        raise malformed(f"size is not from {least} to {most} bits")
    return Wanted(number, size, additional)


def _decimal(values: dict[str, str], name: str) -> int | None:
    text = values.get(name)
    if text is None:
        return None
    if not _DECIMAL.fullmatch(text):
        raise malformed(f"{name} is not a decimal number")
    return int(text)


def _objects(values: dict[str, Any], name: str) -> list[dict[str, Any]]:
    rows = values.get(name, [])
    if type(rows) is not list or not all(type(row) is dict for row in rows):
        raise malformed(f"{name} is not an array of objects")
    return rows


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise malformed("a name appears twice in one JSON object")
    return found


def _constant(text: str) -> Any:
    raise ValueError(text)
