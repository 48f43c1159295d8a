"""Room and wants broken on purpose, one line at a time (R13): a line in other words is noticed."""

from collections.abc import Callable
from typing import Any

import pytest

from actors.keystore.pads import OwnPads
from actors.links.chunk_source import ChunkSource
from actors.relay import room
from actors.relay.room import Rooms, ShareRoom
from actors.sync.demand import Yield
from actors.sync.shortage import Shortage
from tests.actors.links import test_virtual_link as ends
from tests.actors.relay import test_room as hops
from tests.actors.sync import test_demand as supply
from tests.mutations.rewritten import assert_noticed, rewritten
from tests.networks import test_slow_links as slow
from tests.rules import test_rules_pads as pads

pytestmark = pytest.mark.slow

ENDS_NEXT = "if not _ends_next(queue) and self._neighbour.speaks(Wants):"
OCTETS = "octets = max(0, min(pads - KEY_OCTETS, self._beyond(queue, room, now), ROOM_MAX))"
PART = "found.append((queue, least + spare * queue.weight // weights))"
ON_ITS_WAY = "return octets - sum(size + KEY_OCTETS for seq, size, _ in taken if seq > after)"
TOLD_AT = "room.told_at = -math.inf  # what it was told may have got lost"
TURN = "room.turn, self._turn = start + octets / queue.weight, start"
WANTED_AT = "if now < self._wanted_at + WANTS_EVERY_S:"
WANTED = "shares.wanted, self._wants_at = min(ask.octets, self._most // 2), self._context.clock.now"
LAPSED = "if now.now - self._wants_at >= WANTED_S:  # the relay is another by now"

TABLE: list[tuple[str, Any, str, str, str, Callable[[], None]]] = [
    (
        "a relay tells of its own pads alone",
        Rooms,
        "_tell",
        OCTETS,
        "octets = max(0, min(pads - KEY_OCTETS, ROOM_MAX))",
        hops.test_the_origin_hears_what_the_hop_with_least_has,
    ),
    (
        "what is on its way is promised again",
        Rooms,
        "_beyond",
        ON_ITS_WAY,
        "return octets",
        hops.test_what_died_on_its_way_is_no_longer_counted_against_a_share_at_rest,
    ),
    (
        "a chunk that died is on its way for ever",
        ShareRoom,
        "on_its_way",
        "while self.taken and self.taken[0][2] <= now:",
        "while False:",
        hops.test_a_chunk_that_died_on_its_way_is_not_counted_for_ever,
    ),
    (
        "room that got lost stays lost",
        Rooms,
        "on_lane_wants",
        TOLD_AT,
        "pass",
        hops.test_room_that_got_lost_is_told_again_to_who_wants,
    ),
    (
        "the next hop does not hear who wants",
        Rooms,
        "on_lane_wants",
        ENDS_NEXT,
        "if False:",
        hops.test_one_that_wants_claims_a_chunk_at_each_hop_for_a_while,
    ),
    (
        "a claim never lapses",
        Rooms,
        "_let_rest",
        "if now - self._of(queue).wants >= ACTIVE_S:",
        "if False:",
        hops.test_one_that_wants_claims_a_chunk_at_each_hop_for_a_while,
    ),
    (
        "nothing is claimed",
        Rooms,
        "_claim",
        "if octets != self._claimed or late:",
        "if False:",
        hops.test_one_that_wants_claims_a_chunk_at_each_hop_for_a_while,
    ),
    (
        "weights count for nothing",
        room,
        "_by_weight",
        PART,
        "found.append((queue, least + spare // len(queues)))",
        hops.test_shares_that_want_have_the_same_room_by_weight,
    ),
    (
        "the same share is always first",
        Rooms,
        "took",
        TURN,
        "pass",
        hops.test_where_there_is_room_for_one_chunk_who_has_had_least_is_first,
    ),
    (
        "each octet of room is news",
        Rooms,
        "_tell",
        "usable = octets if octets >= CHUNK_MIN else 0  # less is only told when it is time to",
        "usable = octets",
        hops.test_room_that_grows_is_no_news_until_a_smallest_chunk_fits,
    ),
    (
        "chunks are sent without room",
        ChunkSource,
        "go",
        "and (room := self._room(self.session)) >= CHUNK_MIN",
        "and (room := 1 << 20)",
        ends.test_r13_without_room_nothing_is_sent_and_the_path_hears_so_now_and_then,
    ),
    (
        "the path hears of it all the time",
        ChunkSource,
        "_want",
        WANTED_AT,
        "if False:",
        ends.test_r13_news_of_too_little_room_does_not_make_the_path_hear_more_often,
    ),
    (
        "one share's room is that of all",
        ChunkSource,
        "_room",
        "return min(self._room_of(session, share) for share in self._sessions[session])",
        "return max(self._room_of(session, share) for share in self._sessions[session])",
        ends.test_r13_the_share_with_the_least_room_decides,
    ),
    (
        "SAEs take what the relay wants",
        OwnPads,
        "want_pads",
        WANTED,
        "self._wants_at = self._context.clock.now",
        pads.test_r13_bits_that_a_relay_wants_are_not_for_saes_here_for_a_while,
    ),
    (
        "the claim of a relay that is gone lasts",
        OwnPads,
        "tick",
        LAPSED,
        "if False:",
        pads.test_r13_bits_that_a_relay_wants_are_not_for_saes_here_for_a_while,
    ),
    (
        "blocks do not count for the wait",
        Yield,
        "wait",
        "return max(octets / self.rate, due)",
        "return octets / self.rate",
        supply.test_what_comes_in_blocks_comes_with_the_next_one,
    ),
    (
        "the wait is that of a chunk, however much of it there is",
        Shortage,
        "_by_path",
        "wait = max(0, chunk - room) / self._block_sync.path_rate",
        "wait = 20 * chunk / self._block_sync.path_rate",
        lambda: slow.test_who_is_refused_hears_about_when_there_will_be_bits(2),
    ),
]
"""What breaks, whose method, its name, the line, what takes its place, and who notices."""


@pytest.mark.parametrize(
    ("owner", "name", "line", "by", "witness"),
    [row[1:] for row in TABLE],
    ids=[it[0] for it in TABLE],
)
def test_a_broken_line_of_room_is_noticed(
    owner: Any,
    name: str,
    line: str,
    by: str,
    witness: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(owner, name, rewritten(owner, name, line, by))

    assert_noticed(witness)
