"""The same broken lines, and some of relay, under `make sim`: which seed notices each?

There are 58: 50 mutations of `test_mutations.py`, named by their rules and what they break, and 8
more. Beside each stands the first seed of its kind whose run ended, when it was last looked up; it
is tried first. All of these are among seeds 0 to 29, the first 30 of `make sim`, and all but one
among the first 24. Should a change of the code make a run take another course, other seeds of the
kind may notice instead: the first twelve without distant pairs (0 to 14), the twelve after 24
(24 to 41), the first twelve with distant pairs (8 to 43), or the ten rings among the first 200
(23 to 199). A run in which an actor dies of the patch itself does not count.

Here are only those that a network of whole nodes can show: many others are seen by the stories made
for them, or lie behind a second line of defence.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from actors.crypto import one_time_pad
from actors.keystore.delivery import Delivery
from actors.keystore.multicast import Multicast
from actors.ledger.batches import Batches
from actors.ledger.held import Held
from actors.network import lsdb
from actors.relay.incoming import Incoming
from actors.relay.outgoing import Outgoing
from protokms.testing.cluster import Cluster
from protokms.testing.sim.faults.plan import plan
from protokms.testing.sim.run import runner
from protokms.testing.steps import Crash
from tests.mutations import mutations as broken
from tests.mutations.test_mutations import MISFITS, TABLE

pytestmark = pytest.mark.slow

SEEDS = 12
"""Seeds of a kind, at most, within which each mutation is noticed."""
NEAR = [seed for seed in range(60) if not plan(seed).far][:SEEDS]
LATER = [seed for seed in range(24, 60) if not plan(seed).far][:SEEDS]
FAR = [seed for seed in range(120) if plan(seed).far][:SEEDS]
RINGS = [seed for seed in range(200) if plan(seed).shares > 1][:SEEDS]
FIRST = 30
"""So many seeds of `make sim` have been enough."""

NOTICED: dict[str, int] = {
    "R1 a duplicate is taken again": 0,
    "R1 a batch of any size": 0,
    "R2 the holder forgets its batches": 4,
    "R2 the decider forgets its decision": 3,
    "R2 the decider decides anew": 0,
    "R2 words are not repeated": 0,
    "R3 any tag is right": 5,
    "R3 the tag key is not burnt": 0,
    "R4 a second text under one tag key": 1,
    "R5 both ends own what they hold": 0,
    "R5 a transfer is told once": 0,
    "R5 leased segments move": 0,
    "R6 a lease is used before the peer holds it": 0,
    "R6 a lease held is told before its commit": 0,
    "R6 leases are not burnt at a start": 0,
    "R6 the next lease waits for the last to end": 0,
    "R7 words of any start count": 2,
    "R7 words of any epoch count": 2,
    "R7 a Resume without the nonce counts": 0,
    "R7 no question after a reconnect": 0,
    "R7 rows do not count": 0,
    "R7 a rollback is not noticed": 0,
    "R7 the lower epoch does not join": 0,
    "R7 the same grant again is an overlap": 0,
    "R8 answers leave before the commit (local)": 0,
    "R8 answers leave before the commit (confirmed)": 0,
    "R8 keys leave before the commit": 0,
    "R9 a void is told before its commit": 0,
    "R9 a void grant is answered when held comes late": 3,
    "R9 finished ids are forgotten": 0,
    "R9 segments are closed under open grants": 0,
    "R9 a local grant is not durable at its issuer": 0,
    "R9 nothing is announced twice": 0,
    "R9 the owner is not asked": 0,
    "P5 any master will do": 0,
    "R10 the id is made of key bits": 0,
    "R11 delivering is not durable": 0,
    "R11 a written response counts as broken": 0,
    "R11 a late report is ignored": 0,
    "R11 the window does not begin anew": 0,
    "R12 nothing expires": 0,
    "R15 key octets in the clear part of a row": 0,
    "R16 used octets are not wiped": 0,
    "R7 a wiped node goes on in the old epoch": 0,
    "R1 a lease that got lost keeps its segment open": 3,
    "P1 the slaves' side cuts other octets": 0,
    "P2 octets are taken twice (seeds)": 0,
    "P3 what is held is not durable": 0,
    "P4 a delivered key stays in its row": 0,
}
"""A mutation of `test_mutations.py`, and the seed that noticed it."""


@dataclass(frozen=True)
class Broken:
    """One broken line more: `owner.name` becomes `make(what it was)`; the seed that notices."""

    rule: str
    what: str
    owner: Any
    name: str
    make: Callable[[Any], Any]
    seed: int
    seeds: list[int]


def pad_used_again(original: Any) -> Any:
    def seal(self: Outgoing, queue: Any, chunk: Any, pad: Any) -> None:
        first = self.__dict__.setdefault("first_pad", pad)
        fits = len(first.octets) == len(pad.octets)
        original(self, queue, chunk, first if fits else pad)

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
    def verify(self: Incoming, share: Any, word: Any, bits: Any) -> None:
        open_ = one_time_pad.open_

        def wrong(*args: Any) -> bytes:
            text = open_(*args)
            return bytes((text[0] ^ 1,)) + text[1:]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(one_time_pad, "open_", wrong)
            original(self, share, word, bits)

    return verify


def kept(_: Any) -> Any:
    def verify(self: Incoming, share: Any, word: Any, _bits: Any) -> None:
        self._answer(share, word.chunk, "")

    return verify


def nothing(_: Any) -> Any:
    return lambda *_a, **_k: None


MORE = [
    Broken("R3", "undecided batches outlive the epoch", Batches, "destroy", nothing, 29, LATER),
    Broken("R4", "a pad is used again", Outgoing, "_seal", pad_used_again, 8, FAR),
    Broken("R4", "chunks are not padded", one_time_pad, "seal", no_pad, 8, FAR),
    Broken("R11", "a key is given again", Held, "_fetchable", broken.always(value=True), 0, NEAR),
    Broken("R13", "a hop alters what it passes on", Incoming, "_verify", payload_altered, 8, FAR),
    Broken("R13", "a hop keeps what it took over", Incoming, "_verify", kept, 8, FAR),
    Broken("R14", "shares go one way", lsdb, "disjoint", same_path, 23, RINGS),
    Broken("R17", "a fetch waits for ever", Delivery, "_retry_due", nothing, 1, NEAR),
    Broken("R9", "the first KMS that holds is enough", Multicast, "_given", one_is_enough, 8, FAR),
]


def notices(seed: int) -> bool:
    """Whether the run ends for what is broken, and not for how the patch breaks it.

    Whatever else the run ends with, an actor that died of the patch may be what led to it.
    """
    died: list[BaseException | None] = []
    crashed = Cluster.crashed

    def note(self: Cluster, crash: Crash) -> None:
        died.append(crash.why)
        crashed(self, crash)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cluster, "crashed", note)
        result = runner.attempt(plan(seed))
    ended = isinstance(result, runner.Failure) and result.promise != "ERROR"
    return ended and not any(isinstance(why, MISFITS) for why in died)


def first_that_notices(seeds: list[int], likely: int) -> int | None:
    """Return the first seed that ends; the likely one is tried first."""
    for seed in [likely, *(seed for seed in seeds if seed != likely)]:
        if notices(seed):
            return seed
    return None


@pytest.mark.parametrize("name", NOTICED)
def test_a_broken_rule_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    it = next(mutation for mutation in TABLE if f"{mutation.rule} {mutation.what}" == name)
    monkeypatch.setattr(it.owner, it.name, it.make(getattr(it.owner, it.name)))

    assert first_that_notices(NEAR, NOTICED[name]) is not None


@pytest.mark.parametrize("it", MORE, ids=lambda it: f"{it.rule} {it.what}")
def test_another_broken_rule_is_noticed(it: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(it.owner, it.name, it.make(getattr(it.owner, it.name)))

    assert first_that_notices(it.seeds, it.seed) is not None


def misfit(_: Any) -> Any:
    def written(self: Any, _news: Any) -> None:
        self.none_such.count()

    return written


def another_word(_: Any) -> Any:
    def written(_self: Any) -> None: ...

    return written


@pytest.mark.parametrize("make", [misfit, another_word])
def test_a_patch_that_does_not_fit_is_not_noticed(
    make: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Delivery, "written", make(Delivery.written))

    assert isinstance(runner.attempt(plan(0)), runner.Failure)
    assert not notices(0)


def test_an_error_of_the_bench_is_not_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_: Any) -> None:
        raise ValueError("the bench")

    monkeypatch.setattr(runner, "run", run)

    assert not notices(0)


def test_the_noted_seeds_are_among_the_first() -> None:
    assert all(seed in NEAR and seed < FIRST for seed in NOTICED.values())
    assert all(it.seed in it.seeds and it.seed < FIRST for it in MORE)


def test_each_rule_is_broken_at_least_once() -> None:
    rules = {name.split()[0] for name in NOTICED} | {it.rule for it in MORE}

    assert rules >= {f"R{number}" for number in range(1, 18)}
    assert (len(NOTICED), len(MORE)) == (49, 9)
