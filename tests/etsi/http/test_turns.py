"""Turns of SAEs: one that sends many requests at once does not hold up another."""

import asyncio
from collections.abc import Coroutine
from itertools import pairwise
from typing import Any

import structlog

from etsi.http.call import Call, Caller
from etsi.http.pipeline import RequestPipeline
from etsi.http.reply import Reply
from etsi.http.turns import AT_A_TIME, MIXED_S, Turns
from protokms.node.meter import MemoryMeter
from tests.kit.site import options

MANY = 10 * AT_A_TIME


class Exchange:
    """One request of an SAE, without a socket."""

    admitted, method, target = True, "GET", "/"

    def __init__(self, sae: str) -> None:
        self.caller = Caller(sae)

    def check_form(self) -> None:
        pass

    def header(self, name: str) -> str:
        return ""

    async def body(self) -> bytes:
        return b""

    async def send(self, reply: Reply) -> None:
        pass


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


def mixed() -> Turns:
    made = Turns()
    for sae in ("quiet", "greedy"):
        assert made.take(sae) is None
    return made


def test_an_sae_that_is_alone_waits_for_no_turn() -> None:
    async def story() -> None:
        turns = Turns()
        assert [turns.take("greedy") for _ in range(MANY)] == [None] * MANY

    run(story())


def test_beside_others_few_requests_of_an_sae_begin_in_one_pass() -> None:
    async def story() -> None:
        turns = mixed()
        waits = [turn for _ in range(MANY) if (turn := turns.take("greedy"))]
        assert len(waits) == MANY - AT_A_TIME + 1
        assert turns.take("quiet") is None

        began = [0]
        while not waits[-1].done():
            await asyncio.sleep(0)
            began.append(sum(turn.done() for turn in waits))
        assert max(after - before for before, after in pairwise(began)) == AT_A_TIME

    run(story())


def test_a_request_that_is_cancelled_takes_no_turn() -> None:
    async def story() -> None:
        turns = mixed()
        waits = [turn for _ in range(MANY) if (turn := turns.take("greedy"))]
        for turn in waits[:-1]:
            turn.cancel()
        for _ in range(2):
            await asyncio.sleep(0)
        assert waits[-1].done()

    run(story())


def test_turns_end_when_nobody_else_has_asked_for_long() -> None:
    async def story() -> None:
        turns = mixed()
        turns._mixed_at -= MIXED_S
        assert [turns.take("greedy") for _ in range(MANY)] == [None] * MANY

    run(story())


def test_a_request_that_comes_last_is_not_answered_last() -> None:
    begun: list[str] = []

    async def api(call: Call) -> Reply:
        begun.append(call.caller.sae)
        return Reply(200, b"{}")

    async def story() -> None:
        pipeline = RequestPipeline(api, options(), structlog.get_logger(), MemoryMeter(), "life")
        await pipeline.handle(Exchange("quiet"))
        await asyncio.gather(*(pipeline.handle(Exchange("greedy")) for _ in range(MANY)))
        begun.clear()
        both = ["greedy"] * MANY + ["quiet"]
        await asyncio.gather(*(pipeline.handle(Exchange(sae)) for sae in both))

    run(story())
    assert sorted(begun) == ["greedy"] * MANY + ["quiet"]
    assert begun.index("quiet") <= AT_A_TIME
