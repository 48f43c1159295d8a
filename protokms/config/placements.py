"""Which process has which actors, as core's file says: of what cannot be read as a whole, too."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from protokms.config.sections import Process
from protokms.config.tables import Report


class Placed(NamedTuple):
    """The key of a `[[process]]`, and its actors."""

    key: str
    actors: Sequence[str]


def read(values: Mapping[str, Any], report: Report) -> list[Placed]:
    """Return the actors of each process; `values` has the raw tables at "" if some are wrong.

    A row without its seal places actors all the same: whoever places them twice is told now.
    """
    processes: Sequence[Process] = values.get("processes", [])
    good = {report.key(one): one.actors for one in processes}
    raw = values.get("")
    rows = raw.get("process") if isinstance(raw, Mapping) else None
    if not isinstance(rows, list):
        return [Placed(key, actors) for key, actors in good.items()]
    keys = [(f"process[{number}]", row) for number, row in enumerate(rows)]
    return [Placed(key, good.get(key) or _texts(row)) for key, row in keys]


def _texts(row: Any) -> list[str]:
    actors = row.get("actors") if isinstance(row, Mapping) else None
    return [it for it in actors if isinstance(it, str)] if isinstance(actors, list) else []
