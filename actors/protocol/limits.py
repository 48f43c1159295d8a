"""How limits are declared of what an operator may choose: the range, and what to write there.

Limits of words that such a range needs stand here as well: whoever reads a configuration need not
import those words.
"""

from typing import Annotated

from msgspec import Meta

KEYS_MAX = 1024
"""Keys of one grant."""

KEY_OCTETS_MAX = 1 << 16

SLAVES_MAX = 17
"""The slave SAE of a request, and 16 additional ones."""

SHARES_MAX = 8
"""A session goes over 1 path to this many disjoint ones."""

WEIGHT_MAX = 16
"""A session weighs 1 to this: what it gets of a link, and of the turns of a relay (R13)."""

LANES_MAX = 16_384
"""Lanes that a relay sends for, and takes from its neighbour, at most; `sessions` admits fewer."""

Switch = Annotated[bool, Meta(description="write true or false")]


def limit(low: float, high: float, unit: str) -> Meta:
    """Return the limits of a number, with the words that tell an operator what to write."""
    text = f"write a number of {unit} between {low:,} and {high:,}"
    return Meta(ge=low, le=high, description=text)
