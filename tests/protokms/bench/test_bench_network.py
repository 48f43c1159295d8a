"""Whole networks: routes form, and random pairs of SAEs get the same keys at both ends."""

import random

import pytest

from protokms.bench import network as bench_network
from protokms.testing.cluster import parse


@pytest.mark.parametrize("size", [2, 10, 300])
def test_a_drawn_network_has_all_nodes_and_is_connected(size: int) -> None:
    names, links = parse(bench_network.shape(size, random.Random(size)))

    reached = {names[0]}
    for _ in names:
        reached |= {end for link in links if reached & set(link) for end in link}

    assert len(names) == size
    assert reached == set(names)


@pytest.mark.slow
def test_in_a_network_of_a_hundred_nodes_random_pairs_get_equal_keys() -> None:
    made = bench_network.one_size(100, pairs=100, seed=3)

    assert made["links"] >= 99
    assert made["routes_s"] <= 5.0
    assert (made["equal"], made["refused"]) == (100, {})
    assert made["wait_p99_s"] <= 10.0


@pytest.mark.slow
def test_pairs_that_no_link_serves_are_counted_as_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_network, "LINK", {"rate_bit_s": 8.0})
    monkeypatch.setattr(bench_network, "WAIT_S", 1.0)

    made = bench_network.one_size(4, pairs=5, seed=1)

    assert made["equal"] == 0
    assert sum(made["refused"].values()) == 5
    assert made["wait_p50_s"] is None
