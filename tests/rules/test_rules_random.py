"""Both ends under everything at once: seeds, and hypothesis (rules R1-R12, promises P1-P6, P9)."""

import random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.kit.history import HOMES
from tests.kit.two_ends import WEIGHTS, TwoEnds, run

SEEDS = 24
SLOW_SEEDS = 300


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_promise_is_broken_in_a_seeded_run(seed: int) -> None:
    ends = run(seed, 100)

    assert set(HOMES.values()) == {"a", "b"}
    assert ends.history.given


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 1000 + SLOW_SEEDS, 25))
def test_no_promise_is_broken_in_many_seeded_runs(first: int) -> None:
    for seed in range(first, first + 25):
        run(seed, 200)


@pytest.mark.soak
def test_no_promise_is_broken_in_a_great_many_seeded_runs() -> None:
    for seed in range(100_000, 103_000):
        run(seed, 150)


class Machine(RuleBasedStateMachine):
    """The same two ends; every action and its chances are drawn by hypothesis."""

    ends: TwoEnds | None = None

    @initialize(seed=st.integers(0, 1 << 16), dice=st.randoms(use_true_random=False))
    def begin(self, seed: int, dice: random.Random) -> None:
        self.ends = TwoEnds(seed, Dice(dice))
        for _ in range(4):
            self.ends.feed()
            self.ends.cluster.advance(0.2)

    @precondition(lambda self: self.ends is not None)
    @rule(action=st.sampled_from(sorted(WEIGHTS)))
    def act(self, action: str) -> None:
        assert self.ends
        getattr(self.ends, action)()
        self.ends.check()

    def teardown(self) -> None:
        if self.ends:
            self.ends.calm()
            self.ends.lives_on()


class Dice(random.Random):
    """Chances by hypothesis, octets by a seed: units of octets must be unique, not simple."""

    def __init__(self, chances: random.Random) -> None:
        super().__init__(0)
        self._octets = random.Random(1)
        self._chances = chances

    def random(self) -> float:
        return self._chances.random()

    def getrandbits(self, k: int, /) -> int:
        return self._chances.getrandbits(k)

    def randbytes(self, n: int) -> bytes:
        return self._octets.randbytes(n)


class Often(Machine):
    """For the fast suite."""


OFTEN = settings(
    max_examples=12,
    stateful_step_count=30,
    suppress_health_check=list(HealthCheck),
)
Often.TestCase.settings = OFTEN
test_two_ends_as_a_state_machine = Often.TestCase

Machine.TestCase.settings = settings(OFTEN, max_examples=300, stateful_step_count=60)
test_two_ends_as_a_state_machine_at_length = pytest.mark.slow(Machine.TestCase)
