"""Shares of a link's bits (R13): nobody starves, nobody takes what others wait for."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.ledger import shares
from actors.ledger.shares import (
    CLASSES_MAX,
    FLOOR_KEPT_S,
    FLOOR_LEAST,
    LOCAL_PARTS,
    PREFILL_PARTS,
    WAITING_MAX,
    Shares,
)

FLOOR = 4096
MOST = 2000


class Store:
    """Shares of a stock that comes in, and who got what of it."""

    def __init__(self, floor: int = FLOOR, stock: int = 0) -> None:
        self.shares, self.stock, self.number = Shares(floor), stock, 0
        self.got: dict[str, int] = {}
        self.of: dict[int, str] = {}

    def ask(self, name: str, octets: int, weight: int = 1) -> bool:
        self.number += 1
        self.of[self.number] = name
        return self.shares.ask(self.number, name, octets, weight)

    def local(self, octets: int) -> bool:
        """An SAE here asks; it is served at once or refused."""
        if octets > self.shares.for_local(self.stock):
            self.shares.refill_target = max(self.shares.refill_target, octets)
            return False
        self.shares.reserve(octets, self.stock)
        self.stock -= octets
        self.shares.release(octets)
        self.got["local"] = self.got.get("local", 0) + octets
        return True

    def serve(self, usable: int | None = None) -> None:
        while True:
            left = self.stock if usable is None else min(usable, self.stock)
            made = self.shares.next(self.stock, left)
            if made is None:
                return
            self.stock -= made.octets
            usable = None if usable is None else usable - made.octets
            self.got[made.name] = self.got.get(made.name, 0) + made.octets
            assert self.stock >= self.shares.account + self.shares.reserved

    def come(self, octets: int) -> None:
        self.stock += octets
        self.serve()


actions = st.one_of(
    st.tuples(st.just("come"), st.integers(0, 5000)),
    st.tuples(st.just("ask"), st.integers(1, MOST), st.sampled_from("abc"), st.integers(1, 9)),
    st.tuples(st.just("local"), st.integers(1, MOST)),
    st.tuples(st.just("cancel"), st.integers(1, 40)),
    st.tuples(st.just("burn"), st.integers(0, 3000)),
    st.tuples(st.just("serve"), st.integers(0, 5000)),
)


@given(st.lists(actions, max_size=60))
def test_what_is_whose_always_adds_up_and_nothing_is_stuck(todo: list[tuple[object, ...]]) -> None:
    store = Store()
    shares = store.shares
    for what, *args in todo:
        match what, *args:
            case "come", int(octets):
                store.stock += octets
            case "ask", int(octets), str(name), int(weight):
                store.ask(name, octets, weight)
            case "local", int(octets):
                store.local(octets)
            case "cancel", int(number):
                shares.cancel(number)
            case "burn", int(octets):
                store.stock -= min(octets, store.stock)
            case "serve", int(octets):
                store.serve(usable=octets)

        assert 0 <= shares.for_local(store.stock) <= store.stock
        assert 0 <= shares.account <= max(FLOOR, shares.refill_target)
        assert shares.backlog == sum(made.octets for made in shares._open.values())
        assert len(shares._heap) <= 2 * len(shares) + WAITING_MAX

    store.serve()
    head = shares.head()
    free = store.stock - shares.account
    assert head is None or head.octets > free


@settings(max_examples=40)
@given(
    weights=st.lists(st.integers(1, 10), min_size=2, max_size=5),
    seed=st.integers(0, 1 << 16),
)
def test_those_who_always_want_get_by_their_weights(weights: list[int], seed: int) -> None:
    store, dice = Store(), random.Random(seed)
    for number, weight in enumerate(weights):
        for _ in range(WAITING_MAX):
            store.ask(f"s{number}", dice.randint(1, MOST), weight)
    store.stock = FLOOR + MOST
    served = [0.0] * len(weights)
    while all(store.shares._classes[f"s{n}"].waiting for n in range(len(weights))):
        made = store.shares.next(store.stock, store.stock)
        assert made
        served[int(made.name[1:])] += made.octets / weights[int(made.name[1:])]

        for one, weight in zip(served, weights, strict=True):
            for two, other in zip(served, weights, strict=True):
                assert one - two <= MOST / weight + MOST / other


@given(st.lists(st.integers(1, MOST), min_size=2, max_size=30), st.integers(MOST, 4 * MOST))
def test_a_full_store_deadlocks_nobody(sizes: list[int], capacity: int) -> None:
    store = Store(floor=capacity // shares.PREFILL_PARTS // 8, stock=0)
    capacity += store.shares.floor
    for number, octets in enumerate(sizes):
        assert store.ask(f"s{number}", octets)

    for _ in range(2 * len(sizes) + 1):
        store.come(capacity - store.stock)  # full again; nothing else ever comes

    assert not len(store.shares)


def test_saes_here_get_their_share_while_they_have_less_than_their_floor() -> None:
    store = Store(floor=100_000)
    for number in range(4):
        for _ in range(WAITING_MAX):
            store.ask(f"s{number}", 1000, weight=1 + number)

    for _ in range(100):
        store.come(1000)

    share = store.shares.account / 100_000
    assert share == pytest.approx(LOCAL_PARTS / (LOCAL_PARTS + PREFILL_PARTS), abs=0.03)


def test_once_the_floor_is_there_all_that_comes_is_for_those_who_wait() -> None:
    store = Store(floor=2000)
    store.come(2000)
    for _ in range(10):
        store.ask("s", 1000)

    store.come(10_000)

    assert store.got == {"s": 10_000}
    assert store.shares.for_local(store.stock) == 2000


def test_the_floor_is_kept_though_nobody_here_asks() -> None:
    store = Store(floor=2000, stock=8500)
    for _ in range(9):
        store.ask("s", 1000)

    store.serve()

    assert store.got == {"s": 6000}
    assert store.local(2000)


def test_of_little_a_share_is_kept_for_saes_here_and_the_rest_may_be_prefilled() -> None:
    store = Store(floor=100_000, stock=8000)

    for _ in range(100):  # one after the other, each served before the next
        store.ask("s", 100)
        store.serve()

    assert store.got["s"] == pytest.approx(4500, abs=600)
    assert store.shares.account >= 2000


def test_what_nobody_claims_is_free_for_all() -> None:
    store = Store(floor=0, stock=5000)
    store.ask("s", 1000)

    assert store.shares.for_local(store.stock) == 4000
    assert store.local(4000)
    store.serve()
    assert store.got["s"] == 1000


def test_nobody_here_takes_what_a_session_has_waited_for() -> None:
    store = Store(floor=0)
    store.ask("s", 1000)

    for _ in range(9):
        store.come(100)
        assert store.shares.for_local(store.stock) == 0
    store.come(100)

    assert store.got == {"s": 1000}


def test_a_request_larger_than_the_floor_is_saved_for() -> None:
    store = Store(floor=100)
    for _ in range(WAITING_MAX):
        store.ask("s", 1000)

    tries = 0
    while not store.local(1500):
        tries += 1
        store.come(500)

    assert 8 <= tries <= 20


def test_no_class_takes_what_a_larger_request_has_waited_for() -> None:
    store = Store(floor=0)
    store.ask("large", 2000)
    store.come(1500)
    for _ in range(WAITING_MAX):
        store.ask("small", 1)

    assert store.got == {}
    store.come(500)
    assert store.got["large"] == 2000


def test_a_class_that_was_idle_has_saved_nothing_up() -> None:
    store = Store(floor=0)
    for _ in range(20):
        store.ask("busy", 100)
    store.come(1000)
    for _ in range(20):
        store.ask("new", 100)

    store.come(1000)

    assert store.got["new"] == pytest.approx(500, abs=100)


def test_a_request_that_was_given_up_costs_its_class_nothing() -> None:
    store = Store(floor=0)
    for _ in range(20):
        store.ask("patient", 100)
    for _ in range(20):
        store.ask("hasty", 100)
        store.shares.cancel(store.number)
    for _ in range(20):
        store.ask("hasty", 100)

    store.come(2000)

    assert store.got["hasty"] == pytest.approx(1000, abs=100)


def test_leases_that_are_promised_are_not_given_away() -> None:
    store = Store(floor=0, stock=3000)
    store.shares.reserve(1000, store.stock)
    store.ask("s", 1000)

    assert store.shares.next(store.stock, usable=1999) is None
    assert store.shares.next(store.stock, usable=2000)


def test_classes_and_requests_are_bounded() -> None:
    store = Store(floor=0)

    assert [store.ask("s", 1) for _ in range(WAITING_MAX + 1)].count(True) == WAITING_MAX
    taken = [store.ask(f"s{n}", 1) for n in range(CLASSES_MAX + 5)]
    assert taken.count(True) == CLASSES_MAX - 1
    store.come(WAITING_MAX + CLASSES_MAX - 2)
    assert store.ask("one more", 1)  # those that want nothing any more have made room
    assert len(store.shares._classes) <= CLASSES_MAX


def test_the_floor_is_what_comes_in_in_twenty_seconds_while_saes_here_ask() -> None:
    shares = Shares(100_000)
    shares.follow(0.0, 10.0)
    unknown = shares.floor
    shares.follow(100.0, 10.0)
    idle = shares.floor
    shares.asked(20.0)
    shares.follow(100.0, 20.0)
    asked = shares.floor
    shares.follow(100.0, 20.0 + FLOOR_KEPT_S)
    later = shares.floor
    shares.follow(1e6, 20.0 + FLOOR_KEPT_S)

    assert (unknown, idle, asked, later) == (FLOOR_LEAST, FLOOR_LEAST, 2_000, FLOOR_LEAST)
    assert shares.floor == 100_000  # a fast link keeps it always


def test_before_an_sae_asks_what_comes_in_in_a_second_is_kept_for_its_first_request() -> None:
    shares = Shares(1_000_000)
    shares.follow(25_000.0, 10.0)

    assert shares.floor == 25_000


def test_a_store_below_its_floor_has_room_for_others() -> None:
    shares = Shares(100_000)
    shares.follow(1e6, 0.0)

    assert shares.floor == 100_000
    assert shares.room(40_000) == 30_000
    assert shares.room(500_000) == 400_000


@pytest.mark.parametrize(("wanted", "charged"), [(0, 0), (4_000, 1_000), (100_000, 3_000)])
def test_a_promise_is_charged_to_the_account_as_far_as_others_claim_the_rest(
    wanted: int, charged: int
) -> None:
    shares = Shares(5_000)
    shares.account, shares.wanted = 5_000, wanted

    shares.reserve(3_000, stock=11_000)  # of which 6,000 are free

    assert shares.account == 5_000 - charged
    assert shares.reserved == 3_000
