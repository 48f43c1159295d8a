"""Faults drawn at random, under `make sim`: a line left out, or a condition that always holds.

A program drew lines of the rooms that speak with peers; those that a peer or an SAE could see were
kept, in the order in which they were drawn, before any of them was run. Sixteen of them were run,
and eight are noticed, each by the seed beside it. `drawn_lines.py` has a later draw.
"""

from typing import Any

import pytest

from actors.keystore.multicast import Multicast
from actors.keystore.pads import PeerPads
from actors.ledger.stream import Stream
from actors.network.lsdb import LinkStateDatabase
from actors.network.router import Router
from actors.relay.outgoing import Outgoing
from actors.sessions.signalling import Signalling
from actors.sessions.transit import Transit
from tests.mutations.rewritten import rewritten
from tests.mutations.test_sim_mutations import FAR, FIRST, NEAR, first_that_notices

pytestmark = pytest.mark.slow

BUSY = "if not ready or not self._is_listed(session) or session.trying or session.id:"
GIVE = "self.ask(self._store(kms), body, answered, max(left, 0.0))"
NEW_LINKS = "if before is None or before.lsa.state.links != news.state.links:"
UNSIGNED = "if not (permitted and self.allowed(peer) and self._is_signed(ask)):"

DRAWN: list[tuple[Any, str, str, str, int]] = [
    (Signalling, "set_up", BUSY, "if True:", 8),
    (Multicast, "_give", GIVE, "pass", 8),
    (Stream, "lease_held", "self.asked -= segment.free", "pass", 4),
    (Router, "_hears", "if peer not in self.neighbours.linked:", "if True:", 8),
    (PeerPads, "_check", "if self._peer.state.frozen:", "if True:", 8),
    (LinkStateDatabase, "install", NEW_LINKS, "if False:", 8),
    (Transit, "_refusal", UNSIGNED, "if True:", 8),
    (Outgoing, "_refresh", "self._take_pads()", "pass", 8),
]
"""Whose method, its name, the line, what takes its place, and the seed that noticed it."""


@pytest.mark.parametrize(
    ("owner", "name", "line", "by", "seed"),
    DRAWN,
    ids=[f"{it[0].__name__}.{it[1]}" for it in DRAWN],
)
def test_a_line_drawn_at_random_is_noticed(
    owner: Any, name: str, line: str, by: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, rewritten(owner, name, line, by))

    assert first_that_notices(FAR if seed in FAR else NEAR, seed) is not None


def test_the_seeds_are_among_the_first() -> None:
    assert all(row[-1] in (*NEAR, *FAR) and row[-1] < FIRST for row in DRAWN)


def test_a_line_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 lines"):
        rewritten(Stream, "lease_held", "no such line", "pass")
