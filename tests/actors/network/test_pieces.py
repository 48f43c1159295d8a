"""Words of the router that grow with the network: each fits a frame, whatever its size."""

import pytest

from actors.network.lsdb import LINKS_MAX, SEQ_MAX
from actors.network.router import STATES_A_MESSAGE, in_pieces
from actors.protocol.routes import Known, KnownStates, LinkLoad, LinkState, LinkStates
from protokms.config.directory import KMSS_MAX
from transport.codec import MAX_FRAME, encode
from transport.envelope import Address, Envelope
from transport.message import Message


def octets(word: Message) -> int:
    router = Address("router", "n" * 64)
    return len(encode(Envelope(router, router, word)))


def long_name(number: int) -> str:
    return f"{number:064d}"


def state(origin: int, links: int) -> LinkState:
    loads = tuple(LinkLoad(long_name(number), 63, 63) for number in range(links))
    return LinkState(long_name(origin), SEQ_MAX - 1, loads, bytes(64))


def test_what_a_node_knows_of_all_kmss_of_a_directory_fits_a_frame() -> None:
    known = tuple(Known(long_name(number), SEQ_MAX - 1) for number in range(KMSS_MAX))

    assert octets(KnownStates(known=known)) <= MAX_FRAME


@pytest.mark.parametrize("links", [1, 12, 300, LINKS_MAX])
def test_states_travel_in_pieces_that_fit_a_frame(links: int) -> None:
    states = [state(origin, links) for origin in range(2 * STATES_A_MESSAGE if links < 99 else 40)]
    pieces = list(in_pieces(states))

    assert [it for piece in pieces for it in piece] == states
    assert all(octets(LinkStates(states=piece)) <= MAX_FRAME for piece in pieces)
    assert len(pieces) == (2 if links < 13 else -(-40 // max(1, LINKS_MAX // links)))


def test_nothing_to_say_is_no_word() -> None:
    assert list(in_pieces([])) == []
