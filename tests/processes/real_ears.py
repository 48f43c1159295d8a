"""Looks for key bits in whatever was said or written, in every form in which they could stand."""

import base64
import json
import math
from collections.abc import Iterable, Iterator, Mapping

CHUNK = 8
"""Octets of a key that are looked for, at its front and its end: a part of it is one too much."""


def forms(octets: bytes) -> Iterator[bytes]:
    """Yield how these octets look: raw, hex, base64 from any place in it, escaped, decimal."""
    yield octets
    yield octets.hex().encode()
    yield octets.hex().upper().encode()
    yield octets.hex(":").encode()
    for before in range(3):
        first, last = math.ceil(before * 8 / 6), (before + len(octets)) * 8 // 6
        text = base64.b64encode(bytes(before) + octets)[first:last]
        yield text
        yield text.translate(bytes.maketrans(b"+/", b"-_"))
    latin = octets.decode("latin-1")
    yield repr(octets)[2:-1].encode()
    yield json.dumps(latin)[1:-1].encode()
    yield latin.encode()
    yield ", ".join(map(str, octets)).encode()
    yield ",".join(map(str, octets)).encode()


class Ears:
    """Knows some secrets by name, and finds them."""

    def __init__(self, secrets: Mapping[str, bytes]) -> None:
        self._needles = {
            needle: name
            for name, octets in secrets.items()
            for part in (octets[:CHUNK], octets[-CHUNK:])
            for needle in forms(part)
        }

    def heard(self, text: bytes) -> set[str]:
        """Return the names of the secrets that are in a text."""
        return {name for needle, name in self._needles.items() if needle in text}

    def found(self, texts: Mapping[str, bytes]) -> dict[str, set[str]]:
        """Return which secrets are where."""
        return {where: names for where, text in texts.items() if (names := self.heard(text))}


def windows(octets: bytes, size: int = CHUNK) -> Iterable[bytes]:
    """Every run of so many octets."""
    return (octets[at : at + size] for at in range(len(octets) - size + 1))
