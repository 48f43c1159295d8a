"""The extension `protokms_provenance`: over which nodes the bits of a key came, how old they are.

It is asked for with `{"protokms_provenance": true}` among `extension_optional` or
`extension_mandatory` (014 6.2), and answered in the `key_extension` of each key. There are no key
bits in it. Keys of SAEs at several KMEs have none, since each copy has come its own way: an
optional one is left out, and a mandatory one answered with 400.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from actors.protocol.keys import Keys, Via

NAME = "protokms_provenance"


def extensions(made: Keys, here: str, there: str) -> list[bytes]:
    """Return what `key_extension` is to hold, as JSON, for each key of a grant; none if unknown.

    `here` and `there` are the KMSs of master and slave.
    """
    count = len(made.octets) // made.size
    if here == there:  # drawn at this node: no link has a part in it
        return [_row([Via(made.size, ((here,),), 0.0)], here, there)] * count
    if sum(via.octets for via in made.provenance) != len(made.octets):
        return []
    return [_row(vias, here, there) for vias in _by_key(made.provenance, made.size)]


def _by_key(vias: Sequence[Via], size: int) -> Iterator[list[Via]]:
    """Cut what lies one after the other into keys of `size` octets."""
    found: list[Via] = []
    missing = size
    for via in vias:
        left = via.octets
        while left:
            octets = min(left, missing)
            found.append(Via(octets, via.paths, via.age))
            left, missing = left - octets, missing - octets
            if not missing:
                yield found
                found, missing = [], size


def _row(vias: Sequence[Via], here: str, there: str) -> bytes:
    paths: list[list[str]] = []
    for via in vias:
        for path in via.paths or ((here, there),):
            way = list(path if path[0] == here else reversed(path))
            if way not in paths:
                paths.append(way)
    ages = [via.age for via in vias]
    body: dict[str, Any] = {
        "hops": max(len(path) for path in paths) - 1,
        "paths": paths,
        "trusted_nodes": sorted({node for path in paths for node in path[1:-1]}),
        "age_s": round(max(ages), 3) if min(ages) >= 0 else None,
    }
    return msgspec.json.encode({NAME: body})
