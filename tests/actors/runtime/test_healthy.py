"""What an actor says of its health is what it is declared to be, whoever wrote the actor."""

from typing import Any

import pytest

from actors.protocol.common import Healthy

GOOD: dict[str, Any] = {
    "ready": False,
    "reasons": ("why",),
    "facts": (("n", "1"),),
    "waits": ("x",),
}


def test_what_is_declared_is_taken() -> None:
    assert Healthy(**GOOD).facts == (("n", "1"),)


@pytest.mark.parametrize(
    "wrong",
    [
        {"ready": "yes"},
        {"ready": 1},
        {"reasons": (5,)},
        {"reasons": None},
        {"reasons": (True,)},
        {"facts": (("n", 1),)},
        {"facts": (("n", "1", "2"),)},
        {"facts": ("ab",)},
        {"waits": (b"x",)},
    ],
    ids=str,
)
def test_anything_else_fails_at_the_actor_that_says_it(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Healthy(**(GOOD | wrong))
