"""`bench relay --rate`: keys come from dry links, and figures come out."""

import pytest

from protokms.bench import slow_relay

pytestmark = pytest.mark.slow


def test_a_chain_of_slow_links_gives_keys() -> None:
    figures = slow_relay.relay([2], 50_000.0, 1.0, lambda _: None)

    made = figures["hops"][2]
    assert made["keys"] >= 1
    assert made["first_key_s"] > 0
    assert 0 < made["share_of_bits"] <= 1


def test_slow_devices_fill_small_datagrams() -> None:
    assert [slow_relay.datagram(rate) for rate in (100.0, 1_000.0, 1e6)] == [50, 250, 999]
