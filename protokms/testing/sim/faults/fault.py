"""A fault: what goes wrong, where, when, and for how long. A list of them can be written down."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Uniform = tuple[float, float]

FORM = "TIME KIND PLACE SECONDS AMOUNT DICE [WORD]"

PATIENCE_S = 6.0
"""Seconds that a fault waits for its word."""


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing that goes wrong at `at` seconds, and is over by itself.

    `where` is a node, two nodes, or (for actors) a node and the name of an actor. `seconds` is
    how long it lasts, `amount` how bad it is; `dice` seeds whatever else is left to chance in it,
    so that a fault stays what it is when others are taken out of the list. With a `word` it
    strikes when that word is next said there, or after `PATIENCE_S`.
    """

    at: float
    kind: str
    where: tuple[str, ...]
    seconds: float = 0.0
    amount: float = 0.0
    dice: int = 0
    word: str = ""

    def __str__(self) -> str:
        numbers = (f"{self.seconds:g}", f"{self.amount:g}", str(self.dice))
        parts = (f"{self.at:g}", self.kind, ">".join(self.where), *numbers, self.word)
        return " ".join(parts).rstrip()


def write(faults: Sequence[Fault]) -> str:
    """Write a list of faults for the command line."""
    return "; ".join(map(str, faults))


def read(text: str) -> list[Fault]:
    """Undo `write`; `ValueError`, which says why, for anything else."""
    return [_read(part.strip()) for part in text.split(";") if part.strip()]


def _read(text: str) -> Fault:
    words = text.split()
    if len(words) not in (6, 7):
        raise ValueError(f"'{text}': a fault is {FORM}")
    at, kind, where, seconds, amount, dice, *word = words
    if kind not in KINDS:
        raise ValueError(f"'{text}': no such fault: {kind}; there are {', '.join(KINDS)}")
    ends = tuple(where.split(">"))
    try:
        return Fault(float(at), kind, ends, float(seconds), float(amount), int(dice), *word)
    except ValueError:
        why = "TIME, SECONDS and AMOUNT are numbers, and DICE is a whole one"
        raise ValueError(f"'{text}': {why}") from None


@dataclass(frozen=True, slots=True)
class Kind:
    """How faults of a kind are drawn: how often, where (`wire`, `node`, `link`, `actor`), ..."""

    weight: float
    where: str
    seconds: Uniform = (0.0, 0.0)
    amount: Uniform = (0.0, 0.0)


KINDS: dict[str, Kind] = {
    # What befalls frames on a wire; `amount` is a probability, or seconds.
    "loss": Kind(6, "wire", (0.5, 4.0), (0.05, 0.6)),
    "duplicate": Kind(4, "wire", (0.5, 4.0), (0.1, 0.8)),
    "reorder": Kind(4, "wire", (0.5, 4.0), (0.1, 0.8)),
    "delay": Kind(4, "wire", (0.5, 4.0), (0.02, 0.4)),
    "cut": Kind(2, "wire", (0.2, 5.0)),
    "cut_one_way": Kind(2, "wire", (0.2, 5.0)),
    "isolate": Kind(1, "node", (0.2, 5.0)),
    "replay": Kind(5, "wire", amount=(1.0, 12.0)),
    "garbage": Kind(2, "wire", amount=(1.0, 6.0)),
    "lie": Kind(6, "wire", amount=(1.0, 12.0)),
    # What befalls a node; `seconds` is how long it is down, `amount` says at which commit.
    "crash": Kind(2.5, "node", (0.1, 5.0), (0.0, 2.0)),
    "crash_before_commit": Kind(2.5, "node", (0.1, 3.0), (1.0, 6.0)),
    "crash_after_commit": Kind(2.5, "node", (0.1, 3.0), (1.0, 6.0)),
    "commit_error": Kind(1, "node", (0.1, 3.0), (1.0, 4.0)),
    "reboot": Kind(1, "node", (0.5, 5.0)),
    "restore": Kind(0, "node", (0.1, 3.0), (0.5, 15.0)),
    "pause": Kind(3, "node", (0.05, 4.5)),
    "drift": Kind(2, "node", (2.0, 10.0), (0.9, 1.1)),
    "jump": Kind(1.5, "node", amount=(0.2, 6.0)),
    "disk_full": Kind(2, "node", (0.3, 4.0)),
    "slow_disk": Kind(2, "node", (0.5, 4.0), (0.01, 0.5)),
    "actor_crash": Kind(3, "actor"),
    # What befalls datagrams on a quantum link.
    "dark": Kind(1, "link", (0.5, 5.0)),
    "datagram_loss": Kind(2, "link", (0.5, 4.0), (0.05, 0.6)),
    "datagram_twice": Kind(2, "link", (0.5, 4.0), (0.05, 0.6)),
    "datagram_late": Kind(2, "link", (0.5, 4.0), (0.05, 0.6)),
    "datagram_spoilt": Kind(2, "link", (0.5, 4.0), (0.05, 0.6)),
    "datagram_wrong": Kind(1.5, "link", (0.5, 4.0), (0.05, 0.4)),
    "datagram_replay": Kind(2, "link", amount=(1.0, 20.0)),
    # A peer that knows where both ends stand, and lies: from then on nothing is promised to it.
    "betray": Kind(0, "wire", amount=(1.0, 12.0)),
}
"""Every kind of fault; those of weight 0 are put in by the plan itself."""

CRASHES = frozenset(
    {"crash", "crash_before_commit", "crash_after_commit", "commit_error", "reboot", "restore"}
)


def draw(
    dice: random.Random,
    kind: str,
    at: float,
    pick: Callable[[str], tuple[str, ...]],
    words: Sequence[str] = (),
) -> Fault:
    """Draw one fault of a kind; `pick` chooses a place of a sort; `words` are what it may await."""
    how = KINDS[kind]
    seconds = round(dice.uniform(*how.seconds) * dice.random(), 3) if how.seconds[1] else 0.0
    seconds = max(seconds, how.seconds[0])
    amount = round(dice.uniform(*how.amount), 3)
    word = dice.choice(words) if words and dice.random() < 0.5 else ""  # noqa: PLR2004 -- odds
    where, seed = pick(how.where), dice.randrange(1 << 16)
    return Fault(round(at, 3), kind, where, seconds, amount, seed, word)
