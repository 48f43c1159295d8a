"""Counts what was thrown at each door of a node, and what came of it."""

from collections import Counter
from collections.abc import Iterator


class Tally:
    """Inputs by door and class; `outcomes` says how often each answer came."""

    def __init__(self) -> None:
        self._inputs: dict[tuple[str, str], Counter[str]] = {}

    def note(self, door: str, kind: str, outcome: object, n: int = 1) -> None:
        """Count inputs of a class, and their outcome."""
        self._inputs.setdefault((door, kind), Counter())[str(outcome)] += n

    def tried(self, door: str) -> int:
        """How many inputs came to a door."""
        return sum(rows.total() for (at, _), rows in self._inputs.items() if at == door)

    def lines(self) -> Iterator[str]:
        """Yield a table of everything, with a sum for each door."""
        for door in sorted({door for door, _ in self._inputs}):
            yield f"{door}: {self.tried(door):,} inputs"
            for (at, kind), rows in sorted(self._inputs.items()):
                if at == door:
                    said = ", ".join(f"{what} {n:,}" for what, n in rows.most_common(6))
                    yield f"  {kind}: {rows.total():,} ({said})"
