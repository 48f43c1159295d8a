"""Which fault has met which word: one that never met another has never been tried on it."""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable

from actors.protocol.doors import ANSWERS, DOORS
from protokms.testing.sim.faults.fault import KINDS

RECENT_S = 0.05
Pairs = Counter[tuple[str, str]]


class Coverage:
    """Counts, for one run; `recent` words of a node are those of the last 50 ms."""

    def __init__(self) -> None:
        self.met: Pairs = Counter()
        self._recent: defaultdict[str, deque[tuple[float, str]]] = defaultdict(
            lambda: deque(maxlen=64)
        )

    def word(self, sender: str, to: str, word: str, now: float) -> None:
        """A word is on a wire."""
        for node in (sender, to):
            self._recent[node].append((now, word))

    def met_by(self, fault: str, word: str) -> None:
        """A fault has met this very word."""
        self.met[fault, word] += 1

    def strikes(self, fault: str, nodes: Iterable[str], now: float) -> None:
        """A fault has met whatever is in flight at these nodes."""
        for node in nodes:
            words = {word for at, word in self._recent[node] if now - at <= RECENT_S}
            self.met.update((fault, word) for word in sorted(words))


def never_met(met: Pairs) -> dict[str, list[str]]:
    """Return the words that each kind of fault has never met; those of links meet none."""
    words = sorted({*DOORS, *ANSWERS})
    missing = {
        fault: [word for word in words if not met[fault, word]]
        for fault, kind in KINDS.items()
        if kind.where != "link"
    }
    return {fault: missed for fault, missed in missing.items() if missed}


def table(met: Pairs) -> str:
    """Write the counts: a line for each word, a column for each kind of fault."""
    words = sorted({*DOORS, *ANSWERS})
    kinds = list(KINDS)
    lines = ["   ".join((f"{number}={kind}" for number, kind in enumerate(kinds)))]
    lines.append(f"{'':26}" + "".join(f"{number:>7}" for number in range(len(kinds))))
    lines += [f"{word:26}" + "".join(f"{met[kind, word]:>7}" for kind in kinds) for word in words]
    return "\n".join(lines)
