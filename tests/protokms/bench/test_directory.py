"""`bench directory`: nodes start with SAEs that fill many pieces, and figures come out."""

import pytest

from actors.network.homes import PIECE
from protokms.bench import directory

pytestmark = pytest.mark.slow


def test_nodes_give_a_key_with_more_saes_than_a_piece_tells() -> None:
    figures = directory.directories(3 * PIECE, lambda _: None)

    assert figures["saes"] == 3 * PIECE
    assert figures["in_one"]["first_key_s"] > 0
    assert figures["spread"]["first_key_s"] > 0
    assert {"in_one_core", "spread_core"} < figures.keys()
