from random import Random
from typing import Any

import pytest

from transport.loopback import SILENCE, Loopback, Port

NAMES = ["kms-1", "kms-2", "kms-3"]


class Story:
    """A network and all that its nodes hear, in order."""

    def __init__(
        self, seed: int = 1, names: list[str] = NAMES[:2], harm: dict[str, float] | None = None
    ) -> None:
        harm = harm or {}
        self.net = Loopback(Random(seed))
        self.net.loss = harm.get("loss", 0.0)
        self.net.duplication = harm.get("duplication", 0.0)
        self.net.reordering = harm.get("reordering", 0.0)
        self.told: list[Any] = []
        self.now = 0.0
        self.ports: dict[str, Port] = {}
        for name in names:
            self.join(name)
        self.settle()

    def join(self, name: str) -> None:
        self.ports[name] = self.net.join(
            name,
            lambda node, process, octets: self.told.append((name, node, octets)),
            lambda peer, up: self.told.append((name, peer, up)),
        )

    def settle(self) -> None:
        while self.net.step(self.now):
            pass

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.settle()

    def send(self, sender: str, to: str, number: int) -> bool:
        return self.ports[sender](to, str(number).encode())

    def heard(self, name: str) -> list[int]:
        return [int(what) for who, _, what in self.told if who == name and isinstance(what, bytes)]

    def news(self, name: str) -> list[tuple[str, bool]]:
        return [
            (peer, what) for who, peer, what in self.told if who == name and what in (True, False)
        ]


def scene(seed: int) -> list[Any]:
    story = Story(seed, NAMES, {"loss": 0.2, "duplication": 0.2, "reordering": 0.3})
    for number in range(60):
        story.send(NAMES[number % 3], NAMES[(number + 1) % 3], number)
        if number % 7 == 0:
            story.net.step(story.now)
    story.settle()
    return story.told


def test_the_same_seed_tells_the_same_story() -> None:
    assert scene(5) == scene(5)
    assert scene(5) != scene(6)


def test_every_node_hears_of_every_other() -> None:
    story = Story(names=NAMES)

    for name in NAMES:
        assert sorted(story.news(name)) == [(other, True) for other in NAMES if other != name]


def test_a_cut_swallows_frames_and_is_noticed_after_the_silence() -> None:
    story = Story()
    story.send("kms-1", "kms-2", 1)

    story.net.cut("kms-1", "kms-2")
    swallowed = story.send("kms-1", "kms-2", 2)
    story.settle()
    due = story.net.due()
    story.wait(SILENCE - 0.01)
    before = story.news("kms-1")
    story.wait(0.01)

    assert swallowed
    assert due == SILENCE
    assert before == [("kms-2", True)]
    assert story.news("kms-1") == [("kms-2", True), ("kms-2", False)]
    assert story.news("kms-2") == [("kms-1", True), ("kms-1", False)]
    assert story.heard("kms-2") == []
    assert not story.send("kms-1", "kms-2", 3)


def test_a_cut_in_one_direction_lets_the_other_through_until_both_are_down() -> None:
    story = Story()
    story.net.cut("kms-1", "kms-2", one_way=True)

    story.send("kms-1", "kms-2", 1)
    story.send("kms-2", "kms-1", 2)
    story.settle()
    heard = story.heard("kms-1"), story.heard("kms-2")
    story.wait(SILENCE)

    assert heard == ([2], [])
    assert story.news("kms-1")[-1] == ("kms-2", False)
    assert story.news("kms-2")[-1] == ("kms-1", False)


def test_a_cut_that_is_mended_in_time_is_not_noticed() -> None:
    story = Story()

    story.net.cut("kms-1", "kms-2")
    story.wait(SILENCE / 2)
    story.net.mend("kms-1", "kms-2")
    story.wait(SILENCE * 2)

    assert story.news("kms-1") == [("kms-2", True)]
    assert story.net.due() is None


def test_a_mended_cut_is_up_again_at_both_ends() -> None:
    story = Story()
    story.net.cut("kms-1", "kms-2")
    story.wait(0)
    story.wait(SILENCE)

    story.net.mend("kms-1", "kms-2")
    story.settle()

    assert story.news("kms-1") == [("kms-2", True), ("kms-2", False), ("kms-2", True)]
    assert story.news("kms-2") == [("kms-1", True), ("kms-1", False), ("kms-1", True)]
    assert story.send("kms-1", "kms-2", 1)


def test_a_node_that_vanishes_is_missed_after_the_silence() -> None:
    story = Story()
    story.send("kms-2", "kms-1", 1)

    story.ports["kms-2"].leave()
    into_the_void = story.send("kms-1", "kms-2", 2)
    story.wait(0)
    story.wait(SILENCE)

    assert into_the_void
    assert story.heard("kms-1") == []
    assert story.news("kms-1") == [("kms-2", True), ("kms-2", False)]
    assert not story.send("kms-2", "kms-1", 3)
    assert story.net.due() is None


def test_a_node_that_restarts_at_once_is_down_and_up() -> None:
    story = Story()
    story.send("kms-1", "kms-2", 1)

    story.join("kms-2")
    story.settle()

    assert story.news("kms-1") == [("kms-2", True), ("kms-2", False), ("kms-2", True)]
    assert story.heard("kms-2") == []


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        ({"loss": 1.0}, []),
        ({"duplication": 1.0}, [0, 0, 1, 1, 2, 2]),
        ({"loss": 0.0, "duplication": 0.0, "reordering": 0.0}, [0, 1, 2]),
    ],
)
def test_harm_is_done_as_asked(harm: dict[str, float], expected: list[int]) -> None:
    story = Story(harm=harm)

    taken = [story.send("kms-1", "kms-2", number) for number in range(3)]
    story.settle()

    assert taken == [True] * 3
    assert story.heard("kms-2") == expected


def test_reordering_loses_nothing_and_changes_the_order() -> None:
    story = Story(harm={"reordering": 0.5})

    for number in range(50):
        story.send("kms-1", "kms-2", number)
    pending = story.net.pending
    story.settle()

    heard = story.heard("kms-2")
    assert pending == 50
    assert sorted(heard) == list(range(50))
    assert heard != sorted(heard)
    assert story.net.pending == 0


def test_a_frame_may_be_answered_while_it_is_delivered() -> None:
    net, told = Loopback(Random(1)), []
    ports: dict[str, Port] = {}

    def bounce(node: str, process: str, octets: bytes) -> None:
        told.append(octets)
        if len(octets) < 5:
            ports["kms-2"](node, octets + b"!")

    def back(node: str, process: str, octets: bytes) -> None:
        ports["kms-1"](node, octets)

    ports["kms-1"] = net.join("kms-1", back, lambda *_: None)
    ports["kms-2"] = net.join("kms-2", bounce, lambda *_: None)
    while net.step(0.0):
        pass
    ports["kms-1"]("kms-2", b"!")
    while net.step(0.0):
        pass

    assert told == [b"!" * n for n in range(1, 6)]
