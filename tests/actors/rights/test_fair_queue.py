"""Deficit round robin: users in turns by what their items cost."""

from hypothesis import given
from hypothesis import strategies as st

from actors.rights.fair_queue import FairQueue

COSTS = st.dictionaries(
    st.sampled_from("abcdef"), st.lists(st.integers(1, 5000), min_size=1, max_size=20), min_size=1
)


def filled(costs: dict[str, list[int]], quantum: int = 1000) -> FairQueue[tuple[str, int, int]]:
    made: FairQueue[tuple[str, int, int]] = FairQueue(quantum, most=100)
    for user, items in costs.items():
        for number, cost in enumerate(items):
            made.put(user, cost, (user, number, cost))
    return made


def taken(queue: FairQueue[tuple[str, int, int]], n: int = 1 << 20) -> list[tuple[str, int, int]]:
    found = []
    while n and queue.head() is not None:
        found.append(queue.take())
        n -= 1
    return found


def test_a_large_item_does_not_hold_up_small_ones() -> None:
    queue = filled({"big": [10_000, 10_000], "a": [10] * 5, "b": [10] * 5})

    first = [user for user, _, _ in taken(queue, 10)]

    assert "big" not in first


def test_a_large_item_has_its_turn_while_small_ones_go_on() -> None:
    queue = filled({"big": [10_000], "a": [500] * 100})

    order = [user for user, _, _ in taken(queue)]

    assert order.index("big") <= 22  # ten rounds of 1,000 octets for each


@given(COSTS)
def test_all_items_come_once_and_each_users_in_order(costs: dict[str, list[int]]) -> None:
    found = taken(filled(costs))

    for user, items in costs.items():
        assert [cost for name, _, cost in found if name == user] == items
        assert [n for name, n, _ in found if name == user] == list(range(len(items)))


@given(st.integers(1, 40), st.integers(1, 5000), st.integers(1, 5000))
def test_who_always_wants_gets_as_much_as_others(n: int, one: int, other: int) -> None:
    queue = filled({"a": [one] * 100, "b": [other] * 100})
    octets = {"a": 0, "b": 0}

    for _ in range(n):
        found = queue.head()
        assert found
        user, _, cost = queue.take()
        octets[user] += cost

    assert abs(octets["a"] - octets["b"]) <= 1000 + 2 * max(one, other)


def test_the_head_stays_until_it_is_taken() -> None:
    queue = filled({"a": [4000], "b": [4000]})

    assert queue.head() == queue.head() == queue.take()


def test_another_user_may_go_first_and_pays_for_it() -> None:
    queue = filled({"big": [900, 900], "a": [400, 400, 400]})
    assert queue.head() == ("big", 0, 900)

    assert queue.take_other(lambda cost: cost < 500) == ("a", 0, 400)
    assert queue.take_other(lambda cost: cost < 10) is None
    assert queue.head() == ("big", 0, 900)
    order = [user for user, _, _ in taken(queue)]

    assert order == ["big", "a", "big", "a"]


def test_what_is_late_is_dropped_and_costs_its_user_nothing() -> None:
    queue = filled({"a": [10, 20, 30], "b": [20, 10]})

    late = queue.drop(lambda item: item[2] <= 20)

    assert late == [("a", 0, 10), ("a", 1, 20), ("b", 0, 20), ("b", 1, 10)]
    assert list(queue) == [("a", 2, 30)]
    assert len(queue) == 1


def test_a_user_has_a_limit_of_its_own() -> None:
    queue: FairQueue[int] = FairQueue(10, most=2)
    queue.put("a", 1, 1)
    assert not queue.full("a")
    queue.put("a", 1, 2)

    assert queue.full("a")
    assert not queue.full("b")
    queue.clear()
    assert not queue.full("a")
    assert queue.head() is None


def test_a_user_of_more_weight_has_more_turns_and_others_have_theirs() -> None:
    queue: FairQueue[str] = FairQueue(1000, most=100)
    for _ in range(90):
        queue.put("gold", 100, "gold", weight=3)
        queue.put("others", 100, "others")

    first = [queue.take() for _ in range(80) if queue.head()]

    assert (first.count("gold"), first.count("others")) == (60, 20)
