"""Which refusal is allowed under which conditions: every other one is a broken promise (P9)."""

from actors.protocol import keys
from protokms.testing.sim.checker.operation import Operation
from protokms.testing.sim.checker.promise import BrokenPromise
from protokms.testing.sim.checker.trouble import Troubles

_APART = (
    *("start", "cut", "cut_one_way", "isolate", "down", "pause", "restore", "betray"),
    *("actor_crash", "jump"),
)
_WIRE = ("loss", "reorder", "delay", "duplicate", "lie", "replay", "garbage")
_DISK = ("disk_full", "slow_disk", "drift")
_LINK = ("dark", "datagram_loss", "datagram_late", "datagram_spoilt", "datagram_wrong")
ANYTHING = (*_APART, *_WIRE, *_DISK, *_LINK)

ALLOWED: dict[str, tuple[tuple[str, ...], float]] = {
    "peer_down": ((*_APART, *_WIRE), 8.0),
    "not_ready": ((*_APART, *_WIRE, *_DISK, "loading"), 8.0),
    "timeout": ((*_APART, *_WIRE, *_DISK, *_LINK), 8.0),
    "no_keys": (ANYTHING, 30.0),
    "busy": ((*_APART, *_WIRE, *_DISK), 8.0),
    "crashed": (("actor_crash",), 2.0),
    "undeliverable": (("actor_crash", "start", "down", "restore", "pause"), 8.0),
    "frozen": (("betray",), 1e9),
}
"""Refusal: the troubles of the two nodes it may come of, and for how many seconds after them.

`no_keys` may also come of too little fed; `too_many_undelivered` of what waits to be fetched.
"""

FAR = frozenset(
    {
        *("peer_down", "not_ready", "timeout", "no_keys", "busy", "undeliverable"),
        *("no_route", "setting_up", "not_enough_bits", "not_enough_disjoint_paths"),
    }
)
"""Refusals allowed over a distance, or for several KMSs at once, for a while."""

FINAL = frozenset({"no_such_key", "not_named", "duplicate", "malformed", "not_allowed"})
"""Refusals that tell an SAE not to ask again."""

OF_KEYS = FINAL | {"in_delivery"}
"""Refusals of a fetch that say something of its keys: none of them may be due (P3)."""


def judge(op: Operation, code: str, troubles: Troubles, *, short: bool, full: bool) -> None:
    """Raise `BrokenPromise` unless this refusal of an honest request may be.

    `short`: the pair may well have no bits left; `full`: the limit of undelivered keys may be
    reached.
    """
    if not op.honest or (code == "no_keys" and short):
        return
    if code == "too_many_undelivered":
        if not full:
            raise BrokenPromise("P9", f"{op.ask}: {code}, with little undelivered")
        return
    if code in OF_KEYS and isinstance(op.ask, keys.GetKeyWithIds):
        return  # P3 decides
    if op.far and code in FAR:
        return  # sessions come and go, and are filled when somebody asks
    kinds, grace = ALLOWED.get(code, ((), 0.0))
    if not troubles.any(kinds, op.nodes, op.at, op.end, grace):
        raise BrokenPromise("P9", f"{op.ask} at {op.node}: {code}, without any reason")
