"""The same broken lines, and those of relay, under `make sim`: within how many seeds is each noticed?

A mutation of `test_mutations.py` is named by its rule and what it breaks; beside it stands the
first seed whose run ended. Here are only those that a network of whole nodes can show: many others
are seen by the stories made for them, or lie behind a second line of defence.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from actors import one_time, routes
from actors.multicast import Multicast
from actors.relay import Relay
from actors.relay_out import Sending
from protokms.testing.sim import runner
from protokms.testing.sim.plan import plan
from tests.system.test_mutations import TABLE

pytestmark = pytest.mark.slow

SEEDS = 12
"""Seeds of a kind within which each mutation is noticed."""
NEAR = [seed for seed in range(60) if not plan(seed).far][:SEEDS]
FAR = [seed for seed in range(120) if plan(seed).far][:SEEDS]
RINGS = [seed for seed in range(240) if plan(seed).shares > 1][:SEEDS]

NOTICED: dict[str, int] = {}
"""A mutation of `test_mutations.py`, and the seed that noticed it."""


@dataclass(frozen=True)
class Broken:
    """One broken line of relay: `owner.name` becomes `make(what it was)`; the seed that notices."""

    rule: str
    what: str
    owner: Any
    name: str
    make: Callable[[Any], Any]
    seed: int
    seeds: list[int]


def pad_used_again(original: Any) -> Any:
    def seal(self: Sending, lane: Any, chunk: Any, pad: Any) -> None:
        first = self.__dict__.setdefault("first_pad", pad)
        fits = len(first.octets) == len(pad.octets)
        original(self, lane, chunk, first if fits else pad)

    return seal


def no_pad(original: Any) -> Any:
    def seal(key_and_pad: bytes, text: bytes, associated: bytes) -> tuple[bytes, bytes]:
        return text, original(key_and_pad, text, associated)[1]

    return seal


def same_path(original: Any) -> Any:
    def disjoint(graph: Any, start: str, end: str, n: int) -> Any:
        return original(graph, start, end, 1) * n

    return disjoint


def one_is_enough(original: Any) -> Any:
    def given(self: Multicast, grant: bytes, kms: str) -> None:
        self._open[grant].missing.clear()
        original(self, grant, kms)

    return given


def payload_altered(original: Any) -> Any:
    def verify(self: Relay, lane: Any, word: Any, opened: Any) -> None:
        open_ = one_time.open_

        def wrong(*args: Any) -> bytes:
            text = open_(*args)
            return bytes((text[0] ^ 1,)) + text[1:]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(one_time, "open_", wrong)
            original(self, lane, word, opened)

    return verify


def kept(_: Any) -> Any:
    def verify(self: Relay, lane: Any, word: Any, _opened: Any) -> None:
        self._answer(lane, word.chunk, "")

    return verify


RELAY = [
    Broken("R4", "a pad is used again", Sending, "_seal", pad_used_again, 0, FAR),
    Broken("R4", "chunks are not padded", one_time, "seal", no_pad, 0, FAR),
    Broken("R13", "a hop alters what it passes on", Relay, "_verify", payload_altered, 0, FAR),
    Broken("R13", "a hop keeps what it took over", Relay, "_verify", kept, 0, FAR),
    Broken("R14", "shares go one way", routes, "disjoint", same_path, 0, RINGS),
    Broken("R9", "the first KMS that holds is enough", Multicast, "_given", one_is_enough, 0, FAR),
]


def first_that_notices(seeds: list[int], likely: int) -> int | None:
    """Return the first seed that ends; the likely one is tried first."""
    for seed in [likely, *(seed for seed in seeds if seed != likely)]:
        if isinstance(runner.attempt(plan(seed)), runner.Failure):
            return seed
    return None


@pytest.mark.parametrize("name", NOTICED)
def test_a_broken_rule_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    it = next(mutation for mutation in TABLE if f"{mutation.rule} {mutation.what}" == name)
    monkeypatch.setattr(it.owner, it.name, it.make(getattr(it.owner, it.name)))

    assert first_that_notices(NEAR, NOTICED[name]) is not None


@pytest.mark.parametrize("it", RELAY, ids=lambda it: f"{it.rule} {it.what}")
def test_a_broken_rule_of_relay_is_noticed(it: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(it.owner, it.name, it.make(getattr(it.owner, it.name)))

    assert first_that_notices(it.seeds, it.seed) is not None


def test_each_rule_is_broken_at_least_once() -> None:
    rules = {name.split()[0] for name in NOTICED} | {it.rule for it in RELAY}

    assert rules >= {f"R{number}" for number in range(1, 18)}
    assert len(NOTICED) + len(RELAY) >= 40
