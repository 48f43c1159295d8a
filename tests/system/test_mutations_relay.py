"""The rules of relay broken on purpose, one line at a time: R4, R13, R14."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from actors import lanes, one_time, relay, relay_out, relay_queue, virtual_link
from actors.joining import Joining
from actors.lanes import Frame, Lane, Lanes
from actors.link_side import LinkSide
from actors.protocol.relay import ChunkId, NotCarried, Passed, SessionId
from actors.relay import Relay
from actors.relay_out import Sending
from actors.virtual_link import VirtualLink
from tests.actors import test_lanes as queues
from tests.actors import test_relay as hop
from tests.actors import test_virtual_link as ends
from tests.system import mutations as broken
from tests.system import test_rules_relay as stories
from tests.system.test_mutations import HOWEVER, Mutation

pytestmark = pytest.mark.slow

NOBODY = SessionId("nobody", 0)


def patched(test: Callable[[pytest.MonkeyPatch], None]) -> None:
    """A test that changes a limit of its own."""
    with pytest.MonkeyPatch.context() as patch:
        test(patch)


def changes_when_repeated(original: Any) -> Any:
    def say(self: Sending, frame: Frame) -> None:
        if frame.told < self.system.now():
            word = frame.word
            frame.word = replace(word, head=replace(word.head, seq=word.head.seq + 1))
        original(self, frame)

    return say


def first_pad_for_all(original: Any) -> Any:
    first: list[Any] = []

    def seal(self: Sending, lane: Lane, chunk: Any, pad: Any) -> None:
        size = one_time.KEY_OCTETS + len(chunk.payload)
        fits = [old for node, old in first if node == self.address and len(old.octets) == size]
        first.append((self.address, pad))
        original(self, lane, chunk, replace(fits[0], id=pad.id) if fits else pad)

    return seal


def said_again(original: Any) -> Any:
    def not_carried(self: Sending, word: NotCarried) -> None:
        lane = self.lanes.of(word.chunk)
        if word.code == "lost" and lane and word.chunk in lane.frames:
            self._say(lane.frames[word.chunk])
        else:
            original(self, word)

    not_carried.handles = NotCarried  # type: ignore[attr-defined]
    return not_carried


def acknowledged_early(original: Any) -> Any:
    def answer(self: Relay, lane: Any, word: Any, opened: Any) -> None:
        original(self, lane, word, opened)
        self._passed(lane, word.chunk, Passed())

    return answer


def flying_for_ever(_: Any) -> Any:
    def repeat(self: Sending, lane: Lane, now: float) -> None:
        for frame in lane.frames.values():
            if now - frame.told >= relay_out.REPEAT_S:
                self._say(frame)

    return repeat


def any_terms(original: Any) -> Any:
    def open_lane(self: Sending, terms: Any) -> None:
        known = self.lanes.lanes.get((terms.session, terms.share))
        original(self, replace(terms, path=known.terms.path) if known else terms)

    return open_lane


def whole_in_a_share(_: Any) -> Any:
    def split(self: VirtualLink, octets: bytes, n: int) -> list[bytes]:
        shares = [self.system.random(len(octets)) for _ in range(n - 1)]
        return [octets, *shares]

    return split


def known_shares(_: Any) -> Any:
    def split(_self: VirtualLink, octets: bytes, n: int) -> list[bytes]:
        return [*[bytes(len(octets))] * (n - 1), octets]

    return split


def untold(_: Any) -> Any:
    def withdraw(self: VirtualLink) -> None:
        self._session = None
        self._forget_flights()

    return withdraw


def without_effect(original: Any) -> Any:
    def on_withdrawn(_self: LinkSide, _news: Any) -> None:
        pass

    on_withdrawn.handles = original.handles  # type: ignore[attr-defined]
    return on_withdrawn


def of_any_session(original: Any) -> Any:
    def add(self: Joining, chunk: ChunkId, *rest: Any) -> Any:
        return original(self, replace(chunk, session=NOBODY), *rest)

    return add


def after_the_world(original: Any) -> Any:
    def send(self: VirtualLink, *args: Any) -> None:
        late: list[tuple[Any, Any]] = []
        tell, self.tell = self.tell, lambda to, body: late.append((to, body))  # type: ignore[method-assign]
        original(self, *args)
        self.tell = tell  # type: ignore[method-assign]
        for to, body in late:
            tell(to, body)

    return send


TABLE = [
    Mutation(
        "R4",
        "a frame changes when it is repeated",
        Sending,
        "_say",
        changes_when_repeated,
        hop.test_r4_a_lost_frame_is_repeated_byte_for_byte,
    ),
    Mutation(
        "R4",
        "a pad seals two frames",
        Sending,
        "_seal",
        first_pad_for_all,
        stories.test_p2_no_pad_seals_two_frames_whatever_is_lost,
    ),
    Mutation(
        "R4",
        "a lost frame is said again for ever",
        Sending,
        "on_not_carried",
        said_again,
        hop.test_r4_a_frame_that_cannot_be_opened_any_more_is_given_up_and_its_bits_burnt,
    ),
    Mutation(
        "R4",
        "bits are not said to be burnt",
        Sending,
        "burn",
        broken.nothing,
        hop.test_pads_are_given_back_once_a_chunk_is_acknowledged,
    ),
    Mutation(
        "R4",
        "answers are forgotten",
        relay,
        "ANSWERS_MAX",
        broken.is_(0),
        hop.test_r4_a_chunk_whose_answer_was_lost_is_answered_again_and_handed_on_once,
    ),
    Mutation(
        "R4",
        "the tag binds the octets alone",
        one_time,
        "carry_place",
        broken.always(b""),
        partial(hop.test_any_field_that_is_changed_is_found_out, "chunk.seq"),
    ),
    Mutation(
        "R4",
        "a pad is tried for ever",
        relay,
        "FAILURES_MAX",
        broken.is_(1 << 30),
        hop.test_three_bad_frames_under_one_pad_end_it_with_an_alarm,
    ),
    Mutation(
        "R4",
        "one bad frame ends a pad",
        relay,
        "FAILURES_MAX",
        broken.is_(1),
        hop.test_a_good_frame_after_two_bad_ones_is_still_opened,
    ),
    Mutation(
        "R13",
        "acknowledged before the next hop has it",
        Relay,
        "_verify",
        acknowledged_early,
        hop.test_r13_a_chunk_is_acknowledged_only_once_the_next_hop_has_taken_it_over,
    ),
    Mutation(
        "R13",
        "no window",
        lanes,
        "WINDOW",
        broken.is_(1 << 30),
        hop.test_r13_a_chunk_is_acknowledged_only_once_the_next_hop_has_taken_it_over,
    ),
    Mutation(
        "R13",
        "any number of pads at once",
        lanes,
        "ASKED_MAX",
        broken.is_(1 << 30),
        hop.test_r13_a_dry_hop_takes_over_a_few_chunks_and_answers_the_rest_late,
    ),
    Mutation(
        "R13",
        "any number is held back",
        relay_queue,
        "HELD_MAX",
        broken.is_(1 << 30),
        hop.test_r13_a_dry_hop_takes_over_a_few_chunks_and_answers_the_rest_late,
    ),
    Mutation(
        "R13",
        "frames behind a slow hop count for ever",
        Sending,
        "repeat",
        flying_for_ever,
        partial(
            patched, hop.test_r13_frames_that_wait_behind_a_slow_hop_hold_no_other_lane_for_long
        ),
    ),
    Mutation(
        "R13",
        "weights count for nothing",
        Lane,
        "weight",
        broken.is_(1),
        queues.test_a_weight_is_a_share_of_the_octets,
    ),
    Mutation(
        "R13",
        "a chunk waits for bits for ever",
        relay_queue,
        "GIVE_UP_S",
        broken.is_(1e6),
        hop.test_r13_what_no_pad_comes_for_is_dropped_and_said_to_the_sessions,
    ),
    Mutation(
        "R13",
        "nobody hears of a lane that stands still",
        Sending,
        "_tell_broken",
        broken.nothing,
        hop.test_r13_what_is_not_acknowledged_is_given_up_and_said_to_the_sessions,
    ),
    Mutation(
        "R13",
        "pads for an epoch that is over",
        Lane,
        "begin",
        broken.always([]),
        hop.test_a_chunk_of_a_new_epoch_drops_what_is_not_sent_of_the_one_before,
    ),
    Mutation(
        "R13",
        "a lane takes part in no round",
        Lanes,
        "queued",
        broken.nothing,
        hop.test_chunks_cross_two_hops_and_each_is_sealed_anew,
    ),
    Mutation(
        "R13",
        "chunks stay large where bits are short",
        VirtualLink,
        "_adapt",
        broken.nothing,
        ends.test_chunks_shrink_when_they_are_taken_over_slowly,
    ),
    Mutation(
        "R14",
        "a share is the datagram",
        VirtualLink,
        "_split",
        whole_in_a_share,
        ends.test_r14_shares_go_over_their_own_paths_and_only_all_of_them_tell_anything,
    ),
    Mutation(
        "R14",
        "shares are not random",
        VirtualLink,
        "_split",
        known_shares,
        stories.test_r14_with_all_that_one_node_ever_held_over_a_reroute_too_no_key_can_be_computed,
    ),
    Mutation(
        "R14",
        "what went over old paths still counts",
        VirtualLink,
        "_withdraw",
        untold,
        ends.test_r14_a_closed_lane_withdraws_what_is_undecided_before_others_are_used,
    ),
    Mutation(
        "R14",
        "the store keeps what is withdrawn",
        LinkSide,
        "on_withdrawn",
        without_effect,
        stories.test_r14_what_went_over_the_old_paths_and_was_undecided_never_counts,
    ),
    Mutation(
        "R14",
        "shares of two sessions meet",
        Joining,
        "add",
        of_any_session,
        ends.test_shares_of_two_sessions_do_not_meet_nor_those_of_unequal_length,
    ),
    Mutation(
        "R14",
        "shares outlive their session",
        Joining,
        "drop",
        broken.nothing,
        ends.test_a_closed_lane_takes_nothing_and_forgets_its_shares,
    ),
    Mutation(
        "R14",
        "fewer paths than asked for",
        virtual_link,
        "_complete",
        broken.always(value=True),
        ends.test_without_all_lanes_nothing_is_drawn,
    ),
    Mutation(
        "R14",
        "a chunk changes its path",
        Sending,
        "open_lane",
        any_terms,
        hop.test_r14_other_terms_for_a_lane_drop_what_was_on_its_way,
    ),
    Mutation(
        "R8",
        "first the world, then the store",
        VirtualLink,
        "_send",
        after_the_world,
        ends.test_nothing_is_passed_on_before_the_store_was_told,
    ),
]


@pytest.mark.parametrize("it", TABLE, ids=[f"{it.rule}: {it.what}" for it in TABLE])
def test_a_broken_rule_of_relay_is_noticed(it: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(it.owner, it.name, it.make(getattr(it.owner, it.name)))

    with pytest.raises(HOWEVER) as noticed:
        it.witness()

    assert not isinstance(noticed.value, (NameError, ImportError))


def test_the_rules_of_relay_are_broken_at_least_once() -> None:
    assert {"R4", "R13", "R14"} <= {it.rule for it in TABLE}
