"""What SAEs here may have: told by `intent` to those who give keys out, and they keep to it.

A policy may deny a pair of SAEs, an application of a controller may let it have keys; both may
set limits. `Rights` has the rows of both; what they come to for one pair is for the ledger.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from actors.protocol.intent import Application, Policy
from transport.message import Message, local, part

FRESH_S: Final = 10.0
"""An answer to `AskRights` holds so long: whoever gives keys out then asks again, and waits."""

Pair = tuple[str, str]
"""Master SAE and slave SAE."""


@part
class Entitled:
    """The application that names a pair of SAEs, and whether its time is `over`."""

    id: str
    application: Application
    over: bool = False


@part
class Rule:
    """A policy and its name."""

    name: str
    policy: Policy


@local
class AskRights(Message):
    """What may SAEs have? Answered with `Rights`, which are told again when they change.

    For twice `FRESH_S`; who asks in time misses nothing, however often `intent` starts anew.
    """


@local
class Rights(Message):
    """All rows that are about SAEs; `rules` in the order in which they are asked.

    `controlled`: nobody has keys without an application. Of several that name a pair `entitled`
    has one. The map is read-only and shared, and does not travel.
    """

    controlled: bool
    entitled: Mapping[Pair, Entitled]
    rules: tuple[Rule, ...] = ()

    def __repr__(self) -> str:
        rows = f"entitled={len(self.entitled)}, rules={len(self.rules)}"
        return f"Rights(controlled={self.controlled}, {rows})"


OPEN: Final = Rights(controlled=False, entitled=MappingProxyType({}))
"""Everybody may have what there is."""
