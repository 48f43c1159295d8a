"""The one-time pad and its one-time tag (R4)."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.crypto import one_time_pad
from actors.crypto.one_time_pad import KEY_OCTETS, TAG_OCTETS, Forged
from actors.protocol.blocks import Head
from actors.protocol.grants import Grant, Piece
from actors.protocol.relay import ChunkId, SessionId

HEAD = Head(1, 2, 3, 4, 5)
PIECES = (Piece(0, 1, 64, 40), Piece(1, 7, 0, 24))
CHUNK = ChunkId(SessionId("kms-1", 9), 0, bytes(16), 11)
GRANT = Grant(bytes(12), PIECES, 16, 2, "alice", ("bob", "bert"), "sealed", 60.0)


def poly1305(key: bytes, text: bytes) -> bytes:
    """Poly1305 as RFC 8439 section 2.5 writes it down."""
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for i in range(0, len(text), 16):
        block = text[i : i + 16] + b"\x01"
        total = (total + int.from_bytes(block, "little")) * r % ((1 << 130) - 5)
    s = int.from_bytes(key[16:], "little")
    return ((total + s) % (1 << 128)).to_bytes(16, "little")


def test_the_reference_agrees_with_the_rfc() -> None:
    key = bytes.fromhex("85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b")

    tag = poly1305(key, b"Cryptographic Forum Research Group")

    assert tag.hex() == "a8061dc1305136c6c22b8baf0c0127a9"


def test_known_answer() -> None:
    key, pad, text = bytes(range(32)), bytes(range(100, 140)), bytes(range(40))

    sealed, tag = one_time_pad.seal(key + pad, text, b"place")

    assert sealed == bytes(a ^ b for a, b in zip(pad, text, strict=True))
    assert tag == poly1305(key, bytes(7) + b"\x05place" + sealed)


octets = st.binary(min_size=1, max_size=200)


@given(text=octets, associated=st.binary(max_size=100))
def test_what_is_sealed_is_opened(text: bytes, associated: bytes) -> None:
    bits = _bits(len(text))

    sealed, tag = one_time_pad.seal(bits, text, associated)

    assert len(sealed) == len(text)
    assert len(tag) == TAG_OCTETS
    assert one_time_pad.open_(bits, sealed, tag, associated) == text


@given(text=octets, associated=octets, data=st.data())
def test_any_flipped_bit_is_detected(text: bytes, associated: bytes, data: st.DataObject) -> None:
    bits = _bits(len(text))
    sealed, tag = one_time_pad.seal(bits, text, associated)
    parts = [sealed, tag, associated]
    which = data.draw(st.integers(0, 2))
    bit = data.draw(st.integers(0, 8 * len(parts[which]) - 1))
    parts[which] = _flip(parts[which], bit)

    with pytest.raises(Forged):
        one_time_pad.open_(bits, *parts)


@given(text=octets, data=st.data())
def test_octets_do_not_move_between_what_is_sealed_and_what_is_bound(
    text: bytes, data: st.DataObject
) -> None:
    associated = data.draw(octets)
    bits = _bits(len(text) + len(associated))
    sealed, tag = one_time_pad.seal(bits[: KEY_OCTETS + len(text)], text, associated)

    with pytest.raises(Forged):
        one_time_pad.open_(bits, associated + sealed, tag, b"")


@pytest.mark.parametrize("length", [0, KEY_OCTETS, KEY_OCTETS + 9, KEY_OCTETS + 11])
def test_a_pad_of_another_length_is_an_error(length: int) -> None:
    with pytest.raises(ValueError, match="as long as its text"):
        one_time_pad.seal(bytes(length), bytes(10), b"")
    with pytest.raises(ValueError, match="as long as its text"):
        one_time_pad.open_(bytes(length), bytes(10), bytes(16), b"")


def test_nothing_is_not_sealed() -> None:
    with pytest.raises(ValueError, match="as long as its text"):
        one_time_pad.seal(bytes(KEY_OCTETS), b"", b"")


@pytest.mark.parametrize("tag", [b"", bytes(15), bytes(17)])
def test_a_tag_of_another_length_is_forged(tag: bytes) -> None:
    with pytest.raises(Forged):
        one_time_pad.open_(_bits(4), b"text", tag, b"")


def test_a_chunk_is_bound_to_its_place() -> None:
    place = (("a", "b"), HEAD, PIECES, CHUNK, 1)
    others = [
        (("c", "b"), HEAD, PIECES, CHUNK, 1),
        (("a", "c"), HEAD, PIECES, CHUNK, 1),
        (("b", "a"), HEAD, PIECES, CHUNK, 1),
        *((("a", "b"), head, PIECES, CHUNK, 1) for head in _each_changed(HEAD)),
        (("a", "b"), HEAD, PIECES[::-1], CHUNK, 1),
        (("a", "b"), HEAD, PIECES[:1], CHUNK, 1),
        (("a", "b"), HEAD, PIECES, replace(CHUNK, session=SessionId("kms-1", 8)), 1),
        (("a", "b"), HEAD, PIECES, replace(CHUNK, session=SessionId("kms-2", 9)), 1),
        (("a", "b"), HEAD, PIECES, replace(CHUNK, share=1), 1),
        (("a", "b"), HEAD, PIECES, replace(CHUNK, epoch=bytes(15) + b"\x01"), 1),
        (("a", "b"), HEAD, PIECES, replace(CHUNK, seq=12), 1),
        (("a", "b"), HEAD, PIECES, CHUNK, 2),
    ]

    packed = {one_time_pad.carry_place(*each) for each in (place, *others)}

    assert len(packed) == 1 + len(others)


def test_a_sealed_grant_is_bound_to_all_of_it() -> None:
    others = [
        replace(GRANT, id=bytes(11) + b"\x01"),
        replace(GRANT, pieces=PIECES[:1]),
        replace(GRANT, size=32, number=1),
        replace(GRANT, master="bob"),
        replace(GRANT, slaves=("bob",)),
        replace(GRANT, mode="confirmed"),
        replace(GRANT, remaining=61.0),
    ]

    packed = {one_time_pad.grant_place(("a", "b"), HEAD, each) for each in (GRANT, *others)}
    lives = {one_time_pad.grant_place(("a", "b"), head, GRANT) for head in _each_changed(HEAD)}

    assert len(packed) == 1 + len(others)
    assert len(lives) == 4  # the reader's life and the seq are not bound
    assert one_time_pad.grant_place(("b", "a"), HEAD, GRANT) not in packed


def _each_changed(head: Head) -> list[Head]:
    names = ("mine", "yours", "number", "random", "seq")
    return [replace(head, **{name: getattr(head, name) + 10}) for name in names]


def _bits(length: int) -> bytes:
    return bytes((7 * i + 3) % 256 for i in range(KEY_OCTETS + length))


def _flip(octets: bytes, bit: int) -> bytes:
    changed = bytearray(octets)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
