"""Lines of the queue of a link, of room along a path and of places broken on purpose: R13."""

from functools import partial

import pytest

from actors.relay.link_queue import ClearOctets, LinkQueue, PadsAsked
from actors.relay.outgoing import Outgoing
from actors.relay.room import Rooms
from actors.sessions.refresh import Refreshing
from actors.sessions.room import Room
from actors.sessions.transit import Transit
from tests.actors.relay import test_link_queue as queue
from tests.actors.relay import test_relay as hop
from tests.actors.relay import test_room as told
from tests.actors.sessions import test_room as places
from tests.mutations.rewritten import Line, assert_noticed, breaks, patched
from tests.networks import test_sessions_liars as liars
from tests.networks import test_sessions_refresh as again
from tests.networks import test_sessions_room as network

pytestmark = pytest.mark.slow


BURST = partial(network.test_a_burst_admits_what_fits_and_loses_nothing, 24, 24)
HELD = "self._held[key] = places"
FROM = "if before and self._from[before] >= options.max_lanes:"
TO = "if after and self._to[after] >= options.max_lanes:"
OF = "if before and after and self._of[origin, after] >= options.max_lanes_per_origin:"
JOIN = "origin = self._origins.setdefault(session.origin, _Origin())"
FITS = "if not self.queues.clear.fits(ask.chunk.session.origin, len(ask.payload)):"
LEAST = "least = of_origin + octets <= CLEAR_MAX // CLEAR_PARTS"
LEFT = "self._changed = {it.key: it for it in found if self._of(it).on_its_way(now)}"
ALL = "changed = self._queues.by_share if enough is not self._enough else self._changed"
REST = "self._changed[queue.key] = self._active.pop(queue.key)"
PAUSE = "self._next_at = now + PAUSE_EACH_S * len(active) if len(active) > AT_ONCE_MAX else now"
PART = "part = max(free // (len(of_origin) - waiting), min(free, CHUNK_PAD_MIN))"
SPEND = "free -= sum(octets for _, octets in divided if octets >= CHUNK_PAD_MIN)"

TABLE = [
    Line(
        "the relay hears first that a session is closed, then the virtual link",
        Transit,
        "close",
        "for name in sorted((state.source, state.target), reverse=True):",
        "for name in sorted((state.source, state.target)):",
        patched(network.test_at_a_close_the_virtual_link_hears_of_it_first),
    ),
    Line(
        "what is being set up is lost at the next refresh",
        Refreshing,
        "on_refresh",
        "if not self._is_being_set_up(key, peer):",
        "if True:",
        lambda: again.test_what_is_being_set_up_is_not_lost(again.Row4()),
    ),
    Line("a share that stands holds no place", Room, "take", HELD, "return ''", BURST),
    Line(
        "what comes from a neighbour has no limit",
        Room,
        "take",
        FROM,
        "if False:",
        network.test_one_step_past_the_room_of_a_link_is_refused_by_name,
    ),
    Line("what goes to a neighbour has no limit", Room, "take", TO, "if False:", BURST),
    Line(
        "one origin has all places",
        Room,
        "take",
        OF,
        "if False:",
        liars.test_one_origin_does_not_take_the_room_of_all_others,
    ),
    Line(
        "places are not given back",
        Room,
        "free",
        "self._count(places, -1)",
        "pass",
        places.test_counters_are_those_of_what_holds_places,
    ),
    Line(
        "a share that ends keeps its places",
        Transit,
        "close",
        "self._room.free(state.key)",
        "pass",
        network.test_places_are_given_back_when_sessions_end,
    ),
    Line(
        "all origins are one",
        LinkQueue,
        "join",
        JOIN,
        "origin = self._origins.setdefault('', _Origin())",
        queue.test_p3_sixty_four_heavy_sessions_of_one_origin_leave_half_to_another,
    ),
    Line(
        "an origin has a turn of any length",
        LinkQueue,
        "next",
        "origin.deficit += TURN",
        "origin.deficit += 100 * TURN",
        queue.test_p3_sixty_four_heavy_sessions_of_one_origin_leave_half_to_another,
    ),
    Line(
        "who has left has its turn still",
        LinkQueue,
        "leave",
        "origin.shares.pop(key, None)",
        "pass",
        queue.test_what_stands_still_or_has_left_holds_up_nobody,
    ),
    Line(
        "any number of pads is asked for ahead",
        PadsAsked,
        "ask",
        "self._total += octets",
        "pass",
        queue.test_one_large_pad_is_asked_for_at_a_time_and_a_few_small_ones,
    ),
    Line(
        "one origin fills the relay",
        ClearOctets,
        "fits",
        LEAST,
        "least = True",
        queue.test_an_origin_has_a_quarter_of_the_octets_in_clear_and_all_have_a_bound,
    ),
    Line(
        "nobody asks whether octets fit",
        Outgoing,
        "on_pass",
        FITS,
        "if False:",
        patched(hop.test_r13_a_relay_holds_so_many_octets_in_clear_and_gives_all_back),
    ),
    Line(
        "what died on its way counts for ever",
        Rooms,
        "_news_at_rest",
        LEFT,
        "self._changed = {}",
        told.test_what_died_on_its_way_is_no_longer_counted_against_a_share_at_rest,
    ),
    Line(
        "who rests does not hear that there is room",
        Rooms,
        "_news_at_rest",
        ALL,
        "changed = self._changed",
        told.test_shares_at_rest_hear_when_there_is_no_room_and_when_there_is_again,
    ),
    Line(
        "all that rest are looked at each time",
        Rooms,
        "_news_at_rest",
        ALL,
        "changed = self._queues.by_share",
        patched(told.test_shares_at_rest_are_not_looked_at_when_another_sends),
    ),
    Line(
        "who comes to rest keeps its room",
        Rooms,
        "_let_rest",
        REST,
        "self._active.pop(queue.key)",
        told.test_a_share_that_comes_to_rest_is_told_of_one_smallest_chunk,
    ),
    Line(
        "room is divided at every chunk of many",
        Rooms,
        "tell",
        PAUSE,
        "self._next_at = now",
        patched(told.test_many_that_want_are_told_together_and_of_no_more_than_there_is),
    ),
    Line(
        "many are told of each chunk of the others",
        Rooms,
        "tell",
        "many = len(active) > AT_ONCE_MAX",
        "many = False",
        told.test_what_many_have_is_told_in_steps_so_that_a_chunk_of_one_is_no_news_for_the_others,
    ),
    Line(
        "nobody sees to it after the pause",
        Rooms,
        "on_divide",
        "self._reminded = False",
        "return",
        patched(told.test_many_that_want_are_told_together_and_of_no_more_than_there_is),
    ),
    Line(
        "an origin has room for each of its shares",
        Rooms,
        "_divided",
        PART,
        "part = CHUNK_PAD_MIN * len(of_origin[origin])",
        told.test_an_origin_with_many_shares_has_no_more_room_than_one_with_one,
    ),
    Line(
        "what one has the next one has too",
        Rooms,
        "_divided",
        SPEND,
        "pass",
        told.test_an_origin_with_many_shares_has_no_more_room_than_one_with_one,
    ),
]


@pytest.mark.parametrize("it", TABLE, ids=[it.what for it in TABLE])
def test_a_broken_line_is_noticed(it: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks(it, monkeypatch)

    assert_noticed(it.witness)
