"""What a wire does to frames: delay, loss, rate, and to whom they go."""

import pytest

from protokms.config.tables import ConfigError
from protokms.lab.wire import (
    FRAMES_MAX,
    HERE,
    NOBODY,
    QUEUE_S,
    Conditions,
    Wire,
    address_of,
    conditions,
)

ALL = "ff:ff:ff:ff:ff:ff"
NEVER, ALWAYS = 1.0, 0.0
"""What is drawn when no frame is lost, and when each is that can be."""


def frame(to: str, octets: int = 1_000) -> bytes:
    return bytes.fromhex(to.replace(":", "")).ljust(octets, b"x")


def wire(draw: float = NEVER, ports: int = 4, **way: float) -> Wire:
    return Wire(ports, Conditions(**way), lambda: draw)


def out(it: Wire, now: float) -> list[int]:
    return [arrival.port for arrival in it.arrived(now)]


def test_a_frame_goes_to_the_port_that_its_address_says() -> None:
    it = wire()
    it.send(1, frame(address_of(3)), 0.0)

    (arrival,) = it.arrived(0.0)
    assert (arrival.port, arrival.frame) == (3, frame(address_of(3)))


def test_a_frame_for_all_goes_to_every_other_port() -> None:
    it = wire()
    it.send(1, frame(ALL), 0.0)

    assert out(it, 0.0) == [0, 2, 3]


@pytest.mark.parametrize("to", [NOBODY, address_of(4), address_of(1), "02:11:22:33:00:02", "02:70"])
def test_a_frame_for_nobody_gets_lost(to: str) -> None:
    it = wire()
    it.send(1, frame(to, 2), 0.0)

    assert it.next_due() is None


def test_a_frame_takes_its_time_and_they_stay_in_order() -> None:
    it = wire(delay_s=0.05)
    for octets in (100, 200):
        it.send(1, frame(address_of(2), octets), 1.0)

    assert out(it, 1.049) == []
    assert it.next_due() == pytest.approx(1.05)
    assert [len(one.frame) for one in it.arrived(1.05)] == [100, 200]


def test_the_rate_is_that_of_each_way() -> None:
    it = wire(rate_bit_s=80_000)  # 0.1 s for 1,000 octets
    for port, to in ((1, 2), (1, 2), (2, 1), (1, 3)):
        it.send(port, frame(address_of(to)), 0.0)

    assert out(it, 0.0999) == []
    assert out(it, 0.1) == [2, 1, 3]
    assert out(it, 0.2) == [2]


def test_what_would_wait_for_too_long_is_lost() -> None:
    it = wire(rate_bit_s=80_000)
    for _ in range(50):
        it.send(1, frame(address_of(2)), 0.0)

    assert len(out(it, 100.0)) == pytest.approx(QUEUE_S / 0.1 + 1, abs=1)


def test_only_so_many_frames_are_on_their_way() -> None:
    it = wire(ports=2, delay_s=1.0)
    for _ in range(FRAMES_MAX + 5):
        it.send(1, frame(ALL, 6), 0.0)
        it.send(0, frame(ALL, 6), 0.0)

    assert len(it.arrived(9.0)) == FRAMES_MAX


def test_a_share_of_the_frames_is_lost() -> None:
    lost, kept = wire(0.019, loss=0.02), wire(0.02, loss=0.02)
    for it in (lost, kept):
        it.send(1, frame(address_of(2)), 0.0)

    assert (out(lost, 1.0), out(kept, 1.0)) == ([], [2])


def test_this_machine_has_no_way_to_go() -> None:
    it = wire(ALWAYS, delay_s=5.0, loss=0.9, rate_bit_s=1_000)
    it.send(HERE, frame(address_of(2)), 0.0)
    it.send(2, frame(address_of(HERE)), 0.0)

    assert out(it, 0.0) == [2, HERE]


def test_conditions_are_read_as_people_write_them() -> None:
    assert conditions("50ms", "2%", "10mbit") == Conditions(delay_s=0.05, loss=0.02, rate_bit_s=1e7)
    assert conditions("1.5s", "0.1%", "64kbit").delay_s == 1.5
    assert conditions("", "", "").is_none


@pytest.mark.parametrize(
    ("delay", "loss", "rate"),
    [("-1ms", "", ""), ("11s", "", ""), ("", "100%", ""), ("", "", "0.5kbit"), ("", "", "11gbit")],
)
def test_conditions_that_cannot_be_are_refused(delay: str, loss: str, rate: str) -> None:
    with pytest.raises(ConfigError, match="Remedy: write"):
        conditions(delay, loss, rate)
