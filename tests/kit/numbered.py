"""What a store would find at a start of rows that were just written."""

from collections.abc import Iterable

from actors.base import NUMBERED, Change, Numbered, Row
from actors.ledger.held import Found


def found(rows: Iterable[Change]) -> Found:
    """Lay rows under numbers out as if all were newer than the last mark."""
    numbered: dict[str, list[Numbered]] = {kind: [] for kind in NUMBERED}
    for row in rows:
        if isinstance(row, Row) and row.kind in NUMBERED:
            octets = row.secret.reveal() if row.secret else b""
            number = int.from_bytes(row.id, "big")
            numbered[row.kind].append(Numbered(number, row.ends, row.clear, octets))
    holdings, tombstones = (sorted(numbered[kind], reverse=True) for kind in NUMBERED)
    return Found(holdings=holdings, tombstones=tombstones)
