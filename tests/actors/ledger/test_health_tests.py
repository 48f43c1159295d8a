"""Health tests of bits (R21): known sequences are judged right, and so are the cut-offs."""

import hashlib
from fractions import Fraction
from itertools import pairwise
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.ledger import health_tests
from actors.ledger.health_tests import (
    ALIKE,
    BATCH_OCTETS,
    COUNT_BITS,
    COUNT_OCTETS,
    RUN_BITS,
    RUN_OCTETS,
    WINDOW_BITS,
    WINDOW_OCTETS,
    fault,
)

SHARE = Fraction(1, 1 << 32)
"""False alarms of one test, a batch of 64 KiB: a quarter of less than 2^-30."""


def noise(octets: int, seed: int = 1) -> bytes:
    return hashlib.shake_256(seed.to_bytes(4, "big")).digest(octets)


def with_run(run: bytes, at: int, octets: int = 2048) -> bytes:
    made = noise(octets)
    return made[:at] + run + made[at + len(run) :]


@pytest.mark.parametrize(
    ("name", "octets", "expected"),
    [
        ("all zero", bytes(4096), "repeated_octets"),
        ("all one", b"\xff" * 4096, "repeated_octets"),
        ("one octet for ever", b"\x5a" * 1024, "repeated_octets"),
        ("a run of octets at the begin", with_run(b"\x5a" * RUN_OCTETS, 0), "repeated_octets"),
        ("a run of octets at the end", with_run(b"\x5a" * 7, 2048 - 7), "repeated_octets"),
        ("a run one octet shorter", with_run(b"\x01" + b"\x5a" * 6 + b"\x01", 100), ""),
        ("two octets in turns", b"\x12\x34" * 1024, "octet_proportion"),
        ("a counter", bytes(range(256)) * 8, ""),
        ("six octets in turns", bytes(range(32, 38)) * 400, "octet_proportion"),
        ("noise of 1 KiB", noise(1024), ""),
        ("noise of 64 KiB", noise(BATCH_OCTETS), ""),
        ("a stuck end", noise(BATCH_OCTETS - 512) + bytes(512), "repeated_octets"),
        ("nothing", b"", ""),
        ("one octet", b"\0", ""),
    ],
    ids=lambda value: value if isinstance(value, str) and value else "",
)
def test_known_sequences_are_judged_right(name: str, octets: bytes, expected: str) -> None:
    assert fault(octets) == expected, name


@pytest.mark.parametrize("bit", ["0", "1"])
@pytest.mark.parametrize("at", [0, 3, 1000, 8 * 2048 - RUN_BITS - 1])
def test_a_run_of_bits_is_found_wherever_it_begins(bit: str, at: int) -> None:
    other = "1" if bit == "0" else "0"
    alternating = "01" * (4 * 2048)

    def batch(run: int) -> bytes:
        text = alternating[:at] + bit * run + other + alternating[at + run + 1 :]
        if at:
            text = text[: at - 1] + other + text[at:]
        return int(text, 2).to_bytes(2048, "big")

    def runs(octets: bytes) -> int:
        text, longest, now = f"{int.from_bytes(octets, 'big'):0{8 * len(octets)}b}", 1, 1
        for before, here in pairwise(text):
            now = now + 1 if before == here else 1
            longest = max(longest, now)
        return longest

    assert runs(batch(RUN_BITS)) == RUN_BITS
    assert health_tests._bits_repeat(int.from_bytes(batch(RUN_BITS), "big"), 8 * 2048)
    assert not health_tests._bits_repeat(int.from_bytes(batch(RUN_BITS - 1), "big"), 8 * 2048)


def test_biased_bits_are_found_though_no_octet_is_too_frequent() -> None:
    ones = noise(4096, 1), noise(4096, 2)
    biased = bytes(one | other for one, other in zip(*ones, strict=True))  # three ones in four

    assert fault(biased) in {"octet_proportion", "bit_proportion"}
    assert health_tests._bit_proportion(biased)


@given(st.integers(0, 1 << 30), st.integers(2, 3000))
def test_noise_of_any_length_passes(seed: int, octets: int) -> None:
    assert fault(noise(octets, seed)) == ""


def test_every_octet_of_a_batch_lies_in_a_window() -> None:
    for length in (1, 100, 511, 512, 513, 1024, 1600, BATCH_OCTETS):
        starts = health_tests._windows(length, WINDOW_OCTETS)
        seen = {n for start in starts for n in range(start, min(start + WINDOW_OCTETS, length))}

        assert seen == set(range(length))


@pytest.mark.parametrize("octet", [0x00, 0x5A, 0xFF])
@pytest.mark.parametrize("at", [0, 1, 777, 2048 - RUN_OCTETS])
def test_a_run_of_octets_is_found_wherever_it_begins(octet: int, at: int) -> None:
    assert fault(with_run(bytes([octet]) * RUN_OCTETS, at)) == "repeated_octets"


@pytest.mark.parametrize("bit", ["0", "1"])
@pytest.mark.parametrize("before", range(8))
@pytest.mark.parametrize("at", [0, 1, 900, 2048 - 8])
def test_the_shortest_run_of_bits_is_told_at_each_place(bit: str, before: int, at: int) -> None:
    other = "1" if bit == "0" else "0"
    text = (other * before + bit * RUN_BITS).ljust(64, other)

    assert fault(with_run(int(text, 2).to_bytes(8, "big"), at)) == "repeated_bits"


def test_each_run_that_is_too_long_holds_the_octets_that_are_looked_for() -> None:
    assert ALIKE <= RUN_OCTETS
    assert all(RUN_BITS - at >= 8 * ALIKE for at in range(8))


@given(
    st.binary(min_size=1, max_size=700), st.sampled_from([b"\x00", b"\xff"]), st.integers(1, 255)
)
def test_bits_are_counted_in_every_window(noisy: bytes, octet: bytes, times: int) -> None:
    octets = noisy + octet * times
    bits = "".join(f"{octet:08b}" for octet in octets)
    whole = max(0, len(bits) - WINDOW_BITS)
    windows = [bits[at : at + WINDOW_BITS] for at in (*range(0, whole, WINDOW_BITS), whole)]
    expected = any(window.count(window[0]) >= COUNT_BITS for window in windows)

    assert health_tests._bit_proportion(octets) is expected


def at_least(n: int, p: Fraction, count: int) -> Fraction:
    terms = (comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(count, n + 1))
    return sum(terms, Fraction(0))


@pytest.mark.parametrize(
    ("window", "p", "windows", "cutoff"),
    [
        (WINDOW_OCTETS, Fraction(1, 256), BATCH_OCTETS // WINDOW_OCTETS + 1, COUNT_OCTETS),
        (WINDOW_BITS, Fraction(1, 2), 8 * BATCH_OCTETS // WINDOW_BITS + 1, COUNT_BITS),
    ],
)
def test_proportion_cutoffs_are_the_least_that_keep_false_alarms_rare(
    window: int, p: Fraction, windows: int, cutoff: int
) -> None:
    assert windows * at_least(window - 1, p, cutoff - 1) <= SHARE
    assert windows * at_least(window - 1, p, cutoff - 2) > SHARE


def test_run_cutoffs_are_the_least_that_keep_false_alarms_rare() -> None:
    for samples, bits, cutoff in ((BATCH_OCTETS, 8, RUN_OCTETS), (8 * BATCH_OCTETS, 1, RUN_BITS)):
        assert Fraction(samples, 1 << (bits * (cutoff - 1))) <= SHARE
        assert Fraction(samples, 1 << (bits * (cutoff - 2))) > SHARE
