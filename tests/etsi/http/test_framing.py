"""Pieces of what has come: wherever it was split, a request ends at the end of a piece."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from etsi.http.servers.framing import Cuts

HEAD = b"GET / HTTP/1.1\r\nHost: k\r\n\r\n"
CHUNKED = b"2\r\n\r\n\r\n0\r\nA: b\r\n\r\n"


def pieces(cuts: Cuts, data: bytes) -> list[bytes]:
    """Cut all of it."""
    found, at = [], 0
    while at < len(data):
        end = cuts.next(data, at)
        assert end > at
        found.append(data[at:end])
        at = end
    return found


@given(st.lists(st.sampled_from([HEAD, CHUNKED, b"\r\n", b"x\r\n\r\n"]), max_size=6), st.data())
def test_no_piece_goes_past_an_empty_line_wherever_octets_were_split(
    parts: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(parts)
    inner = st.integers(0, len(whole))
    at = sorted({0, len(whole), *data.draw(st.lists(inner, max_size=8))})
    cuts = Cuts(8_190)

    found = [piece for a, b in pairwise(at) for piece in pieces(cuts, whole[a:b])]

    assert b"".join(found) == whole
    ends, seen = set(), 0
    for piece in found:
        seen += len(piece)
        ends.add(seen)
    begin = 0
    while (end := whole.find(b"\r\n\r\n", begin)) >= 0:
        assert end + 4 in ends
        begin = end + 4


def test_a_body_with_a_length_is_one_piece_however_it_looks() -> None:
    cuts = Cuts(8_190)
    assert cuts.next(HEAD + b"\r\n\r\n12" + HEAD, 0) == len(HEAD)
    cuts.body_of(6)

    assert pieces(cuts, b"\r\n\r") == [b"\r\n\r"]
    assert pieces(cuts, b"\n12" + HEAD) == [b"\n12", HEAD]


def test_a_line_that_has_not_ended_counts_from_its_beginning() -> None:
    cuts = Cuts(10)

    assert not cuts.too_long(b"12345\n1234", 0, 10)
    assert not cuts.too_long(b"567890", 0, 6)
    assert cuts.too_long(b"1", 0, 1)
    cuts.next(b"\r\n\r\n", 0)
    assert not cuts.too_long(b"1", 0, 1)
