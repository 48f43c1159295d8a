"""What real servers do otherwise than ETSI GS QKD 014 says: nothing of it is taken unless named."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

QUIRKS: Mapping[str, str] = {
    "any_key_id": "a key_ID is no UUID, but up to 64 characters of printable ASCII (6.3 says UUID)",
    "capital_keys": "the container says `Keys`, as in table 11; all examples say `keys`",
    "get_only": "no POST: one key_ID in each dec_keys (6.2 and 6.4 have both)",
    "not_found": "404 where there are no keys, or not those named (4 has 503 and 400)",
    "any_success": "another status of 2xx than 200 comes with keys (6.2 says 200)",
}
"""Names for `quirks` in a configuration, and what each of them lets pass."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """Which of them a device has."""

    any_key_id: bool = False
    capital_keys: bool = False
    get_only: bool = False
    not_found: bool = False
    any_success: bool = False


def dialect(names: Collection[str]) -> Dialect:
    """Return what these names stand for; `ValueError` if there is no such quirk."""
    unknown = sorted(set(names) - QUIRKS.keys())
    if unknown:
        raise ValueError(f"no such quirk: {', '.join(unknown)}; there are {', '.join(QUIRKS)}")
    return Dialect(**dict.fromkeys(names, True))
