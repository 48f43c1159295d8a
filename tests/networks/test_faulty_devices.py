"""Two nodes over a pair of devices that do all kinds of wrong, by seed; then all is well again.

`DEVICE_SEEDS=1000 python -m pytest -m "" tests/networks/test_faulty_devices.py` tries more.
"""

import os
import random
from dataclasses import replace

import pytest

from actors.modules.devices.device import DeviceError, DeviceKey
from actors.modules.etsi014.talk import Answer, Container, EncKeys, Request
from actors.modules.module import Role
from tests.kit.faulty_story import Story
from tests.kit.twin_devices import KEY_OCTETS, Twins
from transport.message import Secret

FEW, MORE = 3, int(os.environ.get("DEVICE_SEEDS", "60"))
ROLES: tuple[tuple[Role, Role], ...] = (("sender", "receiver"), ("both", "both"))
KINDS = ("no_answer", "timeout", "unauthorized", "refused", "unavailable", "malformed")


class DeviceStory(Story):
    """One seed of devices that give keys."""

    def __init__(self, seed: int) -> None:
        dice = random.Random(f"roles/{seed}")
        super().__init__(seed, Twins(dice.choice(ROLES), rate=dice.choice((5, 20, 60))), KEY_OCTETS)
        self.before: list[Container] = []

    def wrong(self, request: Request, answer: Answer) -> Answer:
        if not self.slow():
            return answer
        if not isinstance(answer, Container) or self.dice.random() < 0.3:
            raise DeviceError(self.dice.choice(KINDS), "it answers nonsense")
        made = self.dice.choice((self.fewer, self.again, self.twice, self.other, self.forget))
        self.before.append(answer)
        return made(request, answer)

    def fewer(self, _: Request, found: Container) -> Container:
        return Container(found.keys[: self.dice.randrange(len(found.keys) + 1)])

    def again(self, _: Request, found: Container) -> Container:
        old = self.dice.choice(self.before).keys
        pairs = zip(found.keys, old, strict=False)
        return Container(tuple(replace(new, octets=was.octets) for new, was in pairs))

    def twice(self, _: Request, found: Container) -> Container:
        return Container((*found.keys[:-1], found.keys[0]))

    def other(self, request: Request, found: Container) -> Container:
        if isinstance(request, EncKeys):
            return found
        drawn = Secret(self.dice.randbytes(len(found.keys[0].octets)))
        return Container((DeviceKey(found.keys[0].key_id, drawn), *found.keys[1:]))

    def forget(self, _: Request, found: Container) -> Container:
        self.twins.forget(self.dice.randrange(2))
        return found


@pytest.mark.parametrize("seed", range(FEW))
def test_devices_that_do_wrong_break_no_promise(seed: int) -> None:
    DeviceStory(seed).run()


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_devices_that_do_wrong_break_no_promise_for_many_seeds() -> None:
    for seed in range(FEW, MORE):
        DeviceStory(seed).run()
