"""The edge between asyncio and actors."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from actors.protocol.common import Failed, Ping, Pong
from actors.protocol.siblings import Lost
from etsi.http.bridge import Bridge
from tests.kit.noting import Noting
from transport.envelope import Address, Envelope

STORE = Address("key_store/kms-2", "kms-1")


class Edge:
    """A bridge on a loop of its own."""

    def __init__(self) -> None:
        self.system, self.late = Noting(), list[Envelope]()
        self.bridge = Bridge(self.system, "etsi014/http", self.late.append)
        self.runner = asyncio.Runner()
        self.loop = self.runner.get_loop()
        self.bridge.open(self.loop)

    def deliver(self, question: Envelope, sender: Address = STORE, **changes: Any) -> None:
        made = Envelope(sender, question.sender, Pong(), question.token, True)
        self.system.inboxes["etsi014/http"].tell(made._replace(**changes))

    def turn(self) -> None:
        """Let everything happen that is due."""
        self.runner.run(asyncio.sleep(0))
        self.runner.run(asyncio.sleep(0))


@pytest.fixture
def edge() -> Iterator[Edge]:
    made = Edge()
    yield made
    made.bridge.close()
    made.runner.close()


def test_a_question_goes_out_and_its_answer_comes_back(edge: Edge) -> None:
    future = edge.bridge.ask(STORE, Ping(), 5.0, "trace")

    assert edge.system.sent == [
        Envelope(Address("etsi014/http", "kms-1"), STORE, Ping(), (1 << 62) - 1, False, "trace")
    ]
    edge.deliver(edge.system.sent[0])
    edge.turn()
    assert future.result() == Pong()


def test_an_answer_from_another_thread_wakes_the_loop(edge: Edge) -> None:
    async def story() -> Any:
        future = edge.bridge.ask(STORE, Ping(), 5.0)
        question = edge.system.sent[0]
        threading.Thread(target=edge.deliver, args=(question,)).start()
        return await future

    assert edge.runner.run(story()) == Pong()


def test_an_answer_on_the_thread_of_the_loop_costs_none(edge: Edge) -> None:
    future = edge.bridge.ask(STORE, Ping(), 5.0)

    edge.deliver(edge.system.sent[0])

    assert future.done()


def test_many_answers_from_another_thread_cost_one_wake_up(edge: Edge) -> None:
    woken = []
    wake = edge.loop.call_soon_threadsafe

    class Counting:
        def call_soon_threadsafe(self, call: Any) -> None:
            woken.append(call)
            wake(call)

    futures = [edge.bridge.ask(STORE, Ping(), 5.0) for _ in range(10)]
    edge.bridge._loop = Counting()  # type: ignore[assignment]
    other = threading.Thread(target=lambda: list(map(edge.deliver, edge.system.sent)))
    other.start()
    other.join()
    edge.bridge._loop = edge.loop
    edge.turn()

    assert len(woken) == 1
    assert all(future.done() for future in futures)


def test_only_the_one_asked_may_answer_and_only_with_its_token(edge: Edge) -> None:
    future = edge.bridge.ask(STORE, Ping(), 5.0)
    question = edge.system.sent[0]

    edge.deliver(question, Address("key_store/kms-3", "kms-1"))
    edge.deliver(question, Address(STORE.name, "kms-2"))
    edge.deliver(question, token=question.token + 1)
    edge.deliver(question, answer=False)
    edge.turn()

    assert not future.done()
    assert len(edge.late) == 3
    edge.deliver(question)
    edge.turn()
    assert future.done()


def test_without_an_answer_in_time_the_question_has_failed(edge: Edge) -> None:
    async def story() -> Any:
        return await edge.bridge.ask(STORE, Ping(), 0.01)

    assert edge.runner.run(story()) == Failed(code="timeout", why="no answer")


def test_an_answer_after_the_time_out_is_handed_to_who_cleans_up(edge: Edge) -> None:
    async def story() -> None:
        await edge.bridge.ask(STORE, Ping(), 0.001)

    edge.runner.run(story())
    edge.deliver(edge.system.sent[0])
    edge.turn()

    assert [envelope.body for envelope in edge.late] == [Pong()]


def test_an_answer_to_a_cancelled_request_is_handed_over_too(edge: Edge) -> None:
    future = edge.bridge.ask(STORE, Ping(), 5.0)
    future.cancel()

    edge.deliver(edge.system.sent[0])
    edge.turn()

    assert len(edge.late) == 1


def test_time_outs_of_different_lengths_end_each_in_its_time(edge: Edge) -> None:
    async def story() -> list[Any]:
        slow = edge.bridge.ask(STORE, Ping(), 60.0)
        quick = [edge.bridge.ask(STORE, Ping(), 0.005 * n) for n in (2, 1, 2)]
        answers = [await future for future in quick]
        return [*answers, slow.done()]

    assert edge.runner.run(story()) == [Failed(code="timeout", why="no answer")] * 3 + [False]


def test_answered_questions_leave_nothing_behind(edge: Edge) -> None:
    for _ in range(50):
        future = edge.bridge.ask(STORE, Ping(), 60.0)
        edge.deliver(edge.system.sent[-1])
        edge.turn()
        assert future.done()

    queue = edge.bridge._queues[60.0]
    assert len(queue.due) == 1
    assert edge.bridge._open == {}


def test_closing_fails_what_is_open_and_takes_the_name_away(edge: Edge) -> None:
    future = edge.bridge.ask(STORE, Ping(), 60.0)

    edge.bridge.close()

    assert isinstance(future.result(), Failed)
    assert edge.system.inboxes == {}
    with pytest.raises(RuntimeError):
        edge.bridge.ask(STORE, Ping(), 1.0)


def test_an_answer_after_the_loop_has_gone_is_dropped(edge: Edge) -> None:
    edge.bridge.ask(STORE, Ping(), 60.0)
    inbox = edge.system.inboxes["etsi014/http"]
    edge.runner.close()

    answer = Envelope(STORE, edge.bridge.address, Pong(), 1, True)
    other = threading.Thread(target=inbox.tell, args=(answer,))
    other.start()
    other.join()

    assert edge.late == []
    edge.runner = asyncio.Runner()


def test_whoever_waits_for_a_core_that_is_lost_hears_so_at_once(edge: Edge) -> None:
    futures = [edge.bridge.ask(STORE, Ping(), 60.0) for _ in range(3)]
    greeter = Address("greeter/front", "kms-1")
    lost = Envelope(greeter, edge.bridge.address, Lost())

    edge.system.inboxes["etsi014/http"].tell(lost._replace(sender=STORE))
    edge.turn()
    assert not futures[0].done()
    edge.system.inboxes["etsi014/http"].tell(lost)
    edge.turn()

    failed = Failed(code="core_down", why="core is not heard any more")
    assert [future.result() for future in futures] == [failed] * 3
    assert edge.bridge._open == {}
