"""What became of the keys of a configuration since 0.1: told of a file that is from before.

Such a file has `[transport] process_key`, which it needed until 0.2 and which nothing reads now.
Keys that are gone are told of any file: `RETIRED` here, and the old `[[process]]` in `edges.py`.
docs/operate.md has all of it as a table.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from etsi.http.limits import LIMITS
from protokms.config.tables import Report

MARK = "process_key"
"""The key of `[transport]` by which a file is known to be from before."""

RETIRED = {
    f"etsi014.{name}": value
    for name, value in asdict(LIMITS).items()
    if name not in ("stream_timeout_s", "handshake_patience_s")
}
"""Keys that could be set once, and the value that each has now; to be deleted after 0.2."""

PROCESS = ("process.bind", "process.curve")
"""Keys that stand in the file of the process itself now."""


class Default(NamedTuple):
    """A key that has another value now where it is not written."""

    before: int
    now: int


DEFAULTS = {
    "relay.max_sessions": Default(256, 1_024),
    "relay.max_distant_peers": Default(256, 1_024),
    "relay.max_crossing": Default(4_096, 16_384),
}

MEANINGS = {
    "relay.weight": (
        "counts among the sessions of its own origin alone since 0.3, not among all of a link",
        "leave it, if some sessions of this node shall have more than others; else take it out",
    ),
    "store.max_undelivered_bits_per_pair": (
        "is for keys since the last start of their KMS alone since 0.3",
        "write max_undelivered_bits_of_earlier_starts for those from before (67108864)",
    ),
    "store.max_undelivered_bits_per_sae": (
        "is for keys since the last start of their KMS alone since 0.3",
        "write max_undelivered_bits_of_earlier_starts for those from before (67108864)",
    ),
}
"""Keys that mean something else now, where they are written: how, and what to do."""

HEARTBEAT = "transport.heartbeat_s"
"""It was for the processes of the node as well; told where there are such."""


def note(table: Mapping[str, Any], report: Report) -> None:
    """Warn of what a file from before says, or leaves to defaults, and that is otherwise now."""
    transport = table.get("transport")
    if not isinstance(transport, Mapping) or MARK not in transport:
        return
    for key, default in DEFAULTS.items():
        if _written(table, key) is None:
            reason = (
                f"is {default.now:,} where it is not written; until 0.2 it was {default.before:,}"
            )
            name = key.partition(".")[2]
            remedy = f"write {name} = {default.before} in [relay] to keep that"
            report.warn(key, reason, remedy)
    for key, (reason, remedy) in MEANINGS.items():
        if _written(table, key) is not None:
            report.warn(key, reason, remedy)
    beat = _written(table, HEARTBEAT)
    if beat is not None and table.get("process"):
        reason = "is for other KMSs alone since 0.3, and no longer between processes of the node"
        report.warn(HEARTBEAT, reason, f"write sibling_heartbeat_s = {beat} to keep that")


def _written(table: Mapping[str, Any], key: str) -> Any:
    name, _, field = key.partition(".")
    inner = table.get(name)
    return inner.get(field) if isinstance(inner, Mapping) else None
