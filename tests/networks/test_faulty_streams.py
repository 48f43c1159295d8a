"""The same over a pair of devices that give key streams and do all kinds of wrong, by seed.

`DEVICE_SEEDS=1000 python -m pytest -m "" tests/networks/test_faulty_streams.py` tries more.
"""

import os
import random
from dataclasses import replace

import pytest

from actors.modules.devices.device import DeviceError
from actors.modules.etsi004.talk import Answer, Chunk, Chunks, NewKeys, Request
from actors.modules.module import Role
from tests.kit.faulty_story import Story
from tests.kit.twin_streams import CHUNK, TwinStreams
from transport.message import Secret

FEW, MORE = 3, int(os.environ.get("DEVICE_SEEDS", "60"))
ROLES: tuple[tuple[Role, Role], ...] = (("sender", "receiver"), ("both", "both"))
KINDS = ("no_answer", "timeout", "no_peer", "in_use", "refused", "unavailable", "malformed")


class StreamStory(Story):
    """One seed of devices that give key streams."""

    def __init__(self, seed: int) -> None:
        dice = random.Random(f"roles/{seed}")
        twins = TwinStreams(dice.choice(ROLES), rate=dice.choice((5, 20, 60)))
        super().__init__(seed, twins, CHUNK)
        self.before: list[tuple[Chunk, ...]] = []

    def wrong(self, request: Request, answer: Answer) -> Answer:
        if not self.slow():
            return answer
        if not isinstance(answer, Chunks) or not answer.chunks or self.dice.random() < 0.3:
            raise DeviceError(self.dice.choice(KINDS), "it answers nonsense")
        made = self.dice.choice((self.fewer, self.again, self.other, self.jump, self.forget))
        self.before.append(answer.chunks)
        return made(request, answer.chunks)

    def fewer(self, _: Request, found: tuple[Chunk, ...]) -> Chunks:
        return Chunks(found[: self.dice.randrange(len(found) + 1)])

    def again(self, _: Request, found: tuple[Chunk, ...]) -> Chunks:
        pairs = zip(found, self.dice.choice(self.before), strict=False)
        return Chunks(tuple(replace(new, octets=was.octets) for new, was in pairs))

    def other(self, request: Request, found: tuple[Chunk, ...]) -> Chunks:
        if isinstance(request, NewKeys):
            return Chunks(found)
        return Chunks((replace(found[0], octets=Secret(self.dice.randbytes(CHUNK))), *found[1:]))

    def jump(self, request: Request, found: tuple[Chunk, ...]) -> Chunks:
        if not isinstance(request, NewKeys):
            return Chunks(found)
        moved = tuple(replace(it, index=it.index + 5) for it in found)
        made = self.twins.streams[request.stream]
        made |= {it.index: it.octets.reveal() for it in moved}
        return Chunks(moved)

    def forget(self, request: Request, found: tuple[Chunk, ...]) -> Chunks:
        self.twins.forget(self.dice.randrange(2))
        if isinstance(request, NewKeys) and self.dice.random() < 0.5:
            self.twins.gone.add(request.stream)
        return Chunks(found)


@pytest.mark.parametrize("seed", range(FEW))
def test_key_streams_that_do_wrong_break_no_promise(seed: int) -> None:
    StreamStory(seed).run()


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_key_streams_that_do_wrong_break_no_promise_for_many_seeds() -> None:
    for seed in range(FEW, MORE):
        StreamStory(seed).run()
