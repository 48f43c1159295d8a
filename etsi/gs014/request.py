"""What an SAE asks of ETSI GS QKD 014, checked: queries, path style and JSON bodies.

JSON is read with the standard library, not with msgspec: the latter takes the last of two members
with one name in silence, and whoever sends two may mean the other one. For the same reason what an
SAE wishes in several places must agree, and what is nearly a member of a key request is refused:
a standard member with a slip would otherwise be ignored, as unknown ones are to be.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl

from actors.protocol import keys
from actors.protocol.common import Refused
from etsi.gs014 import provenance
from etsi.gs014.options import Gs014Options
from etsi.http.reply import Problem, quoted

SIZE_8 = "size shall be a multiple of 8"
UNSUPPORTED = "not all extension_mandatory parameters are supported"
UNMET = "not all extension_mandatory request options could be met"

_DECIMAL = re.compile(r"[0-9]{1,10}", re.ASCII)
_LISTS = ("additional_slave_SAE_IDs", "extension_mandatory", "extension_optional")
_POST_ONLY = frozenset((*_LISTS, "key_IDs"))
_AMOUNTS = {"number": "number", "size": "size", "key_size": "size"}
"""Members that are amounts, and what each means: devices take `key_size` from a status."""


def _folded(name: str) -> str:
    return name.replace("_", "").lower()


def _slips(names: Iterable[str]) -> dict[str, str]:
    """Return what each name becomes by a missing letter, without underscores, in lower case."""
    found: dict[str, str] = {}
    for name in names:
        plain = _folded(name)
        found |= {plain[:at] + plain[at + 1 :]: name for at in range(len(plain))}
    return found | {_folded(name): name for name in names}


_MEMBERS = (*_AMOUNTS, *_LISTS)
_SLIPS = _slips(_MEMBERS)
_LONGEST_NAME = 2 * max(len(name) for name in _MEMBERS)


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


def wanted(fields: Mapping[str, str], values: Mapping[str, Any], options: Gs014Options) -> Wanted:
    """Read a key request (014 6.2): `fields` of a query or a path, and `values` of a JSON body.

    What is said twice must agree. `null` stands for a member that is not there.
    """
    given = {name: value for name, value in values.items() if value is not None}
    _no_slips((*fields, *given))
    amounts: dict[str, tuple[str, int]] = {}
    for name, meant in _AMOUNTS.items():
        if name in fields:
            _agree(amounts, meant, name, _decimal(name, fields[name]))
        if name in given:
            _agree(amounts, meant, name, _integer(name, given[name]))
    additional = _additional(given, options)
    told, insists = _provenance(given)
    number = amounts.get("number", ("", 1))[1]
    size = amounts.get("size", ("", options.key_size_bits))[1]
    made = _checked(number, size, options)
    return replace(made, additional=additional, provenance=told, insists=insists)


def unmet() -> Problem:
    """Return the problem of a mandatory extension that is known and cannot be met (014 6.2)."""
    return Problem(400, "extension_mandatory", UNMET)


def ids_by_query(values: dict[str, str]) -> list[str]:
    """Read the one `key_ID` of a query (014 6.4, GET)."""
    if "key_ID" not in values:
        raise malformed("key_ID is missing")
    return [values["key_ID"].lower()]


def ids_by_body(values: dict[str, Any], options: Gs014Options) -> list[str]:
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


_TARGETS = "additional_target_sae_ids"
"""How a client in the field calls `additional_slave_SAE_IDs`; it says `[]` when it means none."""


def _no_slips(names: Iterable[str]) -> None:
    """Refuse a name that is one of a key request but for case, an underscore or a missing letter.

    Others are ignored, as the standard wants.
    """
    for name in names:
        if name in _MEMBERS or len(name) > _LONGEST_NAME:
            continue
        meant = _SLIPS.get(_folded(name))
        if meant:
            raise malformed(f"{quoted(name)} is unknown; {meant} is meant, it seems")


def _agree(amounts: dict[str, tuple[str, int]], meant: str, name: str, amount: int) -> None:
    before, known = amounts.setdefault(meant, (name, amount))
    if known != amount:
        what = f"{name} is given twice" if name == before else f"{before} and {name} differ"
        raise malformed(f"{what}: {_short(known)} and {_short(amount)}")


def _short(amount: int) -> str:
    most = 1 << 32
    return str(amount) if -most < amount < most else "a larger one"


def _checked(number: int, size: int, options: Gs014Options) -> Wanted:
    if not 1 <= number <= options.max_keys_per_request:
        raise malformed(f"number is not from 1 to {options.max_keys_per_request}")
    if size % 8:
        raise malformed(SIZE_8)
    least, most = options.min_key_size_bits, options.max_key_size_bits
    if not least <= size <= most:
        raise malformed(f"size is not from {least} to {most} bits")
    return Wanted(number, size)


def _additional(values: Mapping[str, Any], options: Gs014Options) -> tuple[str, ...]:
    name = "additional_slave_SAE_IDs"
    if name not in values and values.get(_TARGETS):
        name = _TARGETS
    if name not in values:
        return ()
    saes = values[name]
    if type(saes) is not list or not all(type(sae) is str for sae in saes):
        raise malformed(f"{name} is not an array of strings")
    if not saes:
        raise malformed(f"{name} is empty; leave it out if there are none")
    if len(saes) > options.max_sae_id_count:
        raise malformed(f"{name} holds more than {options.max_sae_id_count} SAE IDs")
    for sae, count in Counter(saes).items():
        if count > 1:
            raise malformed(f"{name} holds {quoted(sae)} twice")
    return tuple(saes)


def _provenance(values: Mapping[str, Any]) -> tuple[bool, bool]:
    """Tell whether provenance is to be told if it is known, and whether it must be known."""
    optional = _objects(values, "extension_optional")
    mandatory = _objects(values, "extension_mandatory")
    unknown = [name for row in mandatory for name in row if name != provenance.NAME]
    if unknown:
        names = (quoted(name)[1:-1] for name in unknown[:16])  # as they are, for programs
        details = ({"extension_mandatory_unsupported": name} for name in names)
        raise Problem(400, "extension_mandatory", UNSUPPORTED, *details)
    if any(type(value) is not bool for row in mandatory for value in row.values()):
        raise unmet()
    insists = any(True in row.values() for row in mandatory)
    told = insists or any(row.get(provenance.NAME) is True for row in optional)
    return told, insists


def _decimal(name: str, text: str) -> int:
    if not _DECIMAL.fullmatch(text):
        raise malformed(f"{name} is not a decimal number")
    return int(text)


def _integer(name: str, value: Any) -> int:
    """Read an integer; JSON has one kind of number, in which `3`, `3.0` and `0.3e1` are one."""
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is not int:
        raise malformed(f"{name} is not an integer")
    return value


def _objects(values: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
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
