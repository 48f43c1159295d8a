"""The datagram, its MAC, and the window of seqs."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.modules.datagram import MAX_PAYLOAD, OVERHEAD, Channel, Malformed
from actors.modules.window import WIDTH, Window
from transport.message import Secret

SECRET = Secret(b"s" * 32)
EPOCH = bytes(range(16))
CHANNEL = Channel(SECRET, EPOCH, "kms-1", "kms-2")
BASE = 1 << 61


@given(st.integers(0, 2**64 - 1), st.binary(min_size=1, max_size=2000))
def test_what_was_sealed_is_opened(seq: int, payload: bytes) -> None:
    datagram = CHANNEL.seal(seq, payload)

    assert len(datagram) == len(payload) + OVERHEAD
    assert CHANNEL.open(datagram) == (seq, payload)


def test_the_longest_payload_fits_in_a_datagram_and_one_octet_more_is_refused() -> None:
    longest, longer = CHANNEL.seal(1, bytes(MAX_PAYLOAD)), CHANNEL.seal(1, bytes(MAX_PAYLOAD + 1))

    assert CHANNEL.open(longest) == (1, bytes(MAX_PAYLOAD))
    with pytest.raises(Malformed, match="malformed"):
        CHANNEL.open(longer)


@given(st.binary(max_size=200))
def test_noise_is_malformed_and_nothing_else(noise: bytes) -> None:
    with pytest.raises(Malformed):
        CHANNEL.open(noise)


@given(st.binary(max_size=100), st.integers(0, 2**64 - 1), st.integers(0, 2**16 - 1))
def test_noise_with_a_good_head_is_malformed_and_nothing_else(
    noise: bytes, seq: int, length: int
) -> None:
    with pytest.raises(Malformed):
        CHANNEL.open(struct.pack(">4s8sQH", b"PKQ1", CHANNEL.name, seq, length) + noise)


@given(st.integers(0, 8 * (OVERHEAD + 50) - 1))
def test_any_flipped_bit_is_noticed(bit: int) -> None:
    spoiled = bytearray(CHANNEL.seal(7, b"x" * 50))
    spoiled[bit // 8] ^= 1 << bit % 8

    with pytest.raises(Malformed):
        CHANNEL.open(bytes(spoiled))


def test_a_cut_or_lengthened_datagram_is_malformed() -> None:
    datagram = CHANNEL.seal(7, b"x" * 50)

    for wrong in (datagram[:-1], datagram + b"x", datagram[:OVERHEAD]):
        with pytest.raises(Malformed, match="malformed"):
            CHANNEL.open(wrong)


@pytest.mark.parametrize(
    "other",
    [
        Channel(Secret(b"t" * 32), EPOCH, "kms-1", "kms-2"),
        Channel(SECRET, bytes(16), "kms-1", "kms-2"),
        Channel(SECRET, EPOCH, "kms-2", "kms-1"),
        Channel(SECRET, EPOCH, "kms-1", "kms-3"),
        Channel(SECRET, EPOCH, "kms-1k", "ms-2"),
    ],
    ids=["secret", "epoch", "direction", "peer", "boundary of names"],
)
def test_another_secret_epoch_direction_or_pair_is_a_stranger(other: Channel) -> None:
    datagram = other.seal(1, b"octets")

    with pytest.raises(Malformed, match="stranger"):
        CHANNEL.open(datagram)


def test_a_stranger_who_copies_the_channel_name_is_caught_by_the_mac() -> None:
    other = Channel(Secret(b"t" * 32), EPOCH, "kms-1", "kms-2")
    other.name = CHANNEL.name

    with pytest.raises(Malformed, match="corrupt"):
        CHANNEL.open(other.seal(1, b"octets"))


def test_a_seq_is_new_once() -> None:
    window = Window()

    refusals = [window.refusal(BASE + n) for n in (0, 1, 1, 0, 5, 3, 3, 5)]

    assert refusals == ["", "", "duplicate", "duplicate", "", "", "duplicate", "duplicate"]


def test_a_datagram_that_overtook_the_first_leaves_room_for_it() -> None:
    window = Window()

    assert [window.refusal(BASE + n) for n in (2, 1, 0, 0)] == ["", "", "", "duplicate"]


def test_what_lies_behind_the_window_is_late() -> None:
    window = Window()
    window.refusal(BASE)
    window.refusal(BASE + 1 + WIDTH)

    assert window.refusal(BASE + 1) == "late"
    assert window.refusal(BASE + 2) == ""
    assert window.refusal(BASE + 2) == "duplicate"


def test_a_seq_that_was_skipped_is_new_though_the_one_a_window_before_it_was_seen() -> None:
    window = Window()
    for n in (0, 1, 2, WIDTH - 1, WIDTH + 2):
        window.refusal(BASE + n)

    assert [window.refusal(BASE + WIDTH + n) for n in (0, 1)] == ["", ""]


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3 * WIDTH), max_size=50))
def test_no_seq_is_taken_twice_whatever_the_order(steps: list[int]) -> None:
    window = Window()

    taken = [seq for seq in steps if not window.refusal(BASE + seq)]

    assert len(set(taken)) == len(taken)


@pytest.mark.parametrize("base", [5, (1 << 62) - 5], ids=["down", "up"])
def test_a_sender_that_starts_anew_is_heard_and_its_former_run_is_closed(base: int) -> None:
    window = Window()
    window.refusal(BASE)

    assert [window.refusal(base + n) for n in (0, 1, 1)] == ["", "", "duplicate"]
    assert [window.refusal(BASE + n) for n in (0, 1)] == ["late", "late"]
    assert window.refusal(base + 2) == ""
