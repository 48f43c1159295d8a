"""The rules of relay broken on purpose, one line at a time: R4, R13, R14."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from actors.crypto import one_time_pad
from actors.links import chunk_source
from actors.links.chunk_source import ChunkSource
from actors.links.share_assembler import ShareAssembler
from actors.protocol.relay import ChunkId, NotCarried, Passed, SessionId
from actors.relay import incoming, outgoing, queues, room
from actors.relay.incoming import Incoming
from actors.relay.outgoing import Outgoing
from actors.relay.queues import Frame, SendQueue, SendQueues
from actors.sync.block_sync import BlockSync
from tests.actors.links import test_virtual_link as ends
from tests.actors.relay import test_queues as turns
from tests.actors.relay import test_relay as hop
from tests.mutations import mutations as broken
from tests.mutations.rewritten import assert_noticed
from tests.mutations.test_mutations import Mutation
from tests.rules import test_rules_relay as stories

pytestmark = pytest.mark.slow

NOBODY = SessionId("nobody", 0)


def patched(test: Callable[[pytest.MonkeyPatch], None]) -> None:
    """A test that changes a limit of its own."""
    with pytest.MonkeyPatch.context() as patch:
        test(patch)


def changes_when_repeated(original: Any) -> Any:
    def send(self: Outgoing, frame: Frame) -> None:
        if frame.last_sent < self.context.clock.now:
            word = frame.word
            frame.word = replace(word, head=replace(word.head, seq=word.head.seq + 1))
        original(self, frame)

    return send


def first_pad_for_all(original: Any) -> Any:
    first: list[Any] = []

    def seal(self: Outgoing, queue: SendQueue, chunk: Any, pad: Any) -> None:
        size = one_time_pad.KEY_OCTETS + len(chunk.payload)
        fits = [
            old for node, old in first if node == self.context.address and len(old.octets) == size
        ]
        first.append((self.context.address, pad))
        original(self, queue, chunk, replace(fits[0], id=pad.id) if fits else pad)

    return seal


def said_again(original: Any) -> Any:
    def not_carried(self: Outgoing, word: NotCarried) -> None:
        queue = self.queues.of(word.chunk)
        if word.code == "lost" and queue and word.chunk in queue.in_flight:
            self._send(queue.in_flight[word.chunk])
        else:
            original(self, word)

    return not_carried


def acknowledged_early(original: Any) -> Any:
    def verify(self: Incoming, share: Any, word: Any, bits: Any) -> None:
        original(self, share, word, bits)
        self._passed(share, word.chunk, Passed())

    return verify


def unrepeated_for_ever(_: Any) -> Any:
    def repeat(self: Outgoing, queue: SendQueue, now: float) -> None:
        for frame in queue.in_flight.values():
            if now - frame.last_sent >= outgoing.REPEAT_S:
                self._send(frame)

    return repeat


def any_terms(original: Any) -> Any:
    def open_(self: Outgoing, terms: Any) -> None:
        known = self.queues.by_share.get((terms.session, terms.share))
        original(self, replace(terms, path=known.terms.path) if known else terms)

    return open_


def whole_in_a_share(_: Any) -> Any:
    def split(self: ChunkSource, octets: bytes, n: int) -> list[bytes]:
        shares = [self.context.system.random(len(octets)) for _ in range(n - 1)]
        return [octets, *shares]

    return split


def known_shares(_: Any) -> Any:
    def split(_self: ChunkSource, octets: bytes, n: int) -> list[bytes]:
        return [*[bytes(len(octets))] * (n - 1), octets]

    return split


def untold(_: Any) -> Any:
    def withdraw(self: ChunkSource) -> None:
        self.session = None
        self.forget_flights()

    return withdraw


def without_effect(original: Any) -> Any:
    def on_withdrawn(_self: BlockSync, _news: Any) -> None:
        pass

    on_withdrawn.handles = original.handles  # type: ignore[attr-defined]
    return on_withdrawn


def of_any_session(original: Any) -> Any:
    def add(self: ShareAssembler, chunk: ChunkId, *rest: Any) -> Any:
        return original(self, replace(chunk, session=NOBODY), *rest)

    return add


def after_the_world(original: Any) -> Any:
    def send(self: ChunkSource, *args: Any) -> None:
        late: list[tuple[Any, Any]] = []
        link: Any = self.context
        tell, link.tell = link.tell, lambda to, body: late.append((to, body))
        original(self, *args)
        link.tell = tell
        for to, body in late:
            tell(to, body)

    return send


TABLE = [
    Mutation(
        "R4",
        "a frame changes when it is repeated",
        Outgoing,
        "_send",
        changes_when_repeated,
        hop.test_r4_a_lost_frame_is_repeated_byte_for_byte,
    ),
    Mutation(
        "R4",
        "a pad seals two frames",
        Outgoing,
        "_seal",
        first_pad_for_all,
        stories.test_p2_no_pad_seals_two_frames_whatever_is_lost,
    ),
    Mutation(
        "R4",
        "a lost frame is said again for ever",
        Outgoing,
        "on_not_carried",
        said_again,
        hop.test_r4_a_frame_that_cannot_be_opened_any_more_is_given_up_and_its_bits_burnt,
    ),
    Mutation(
        "R4",
        "bits are not said to be burnt",
        Outgoing,
        "_burn",
        broken.nothing,
        hop.test_pads_are_given_back_once_a_chunk_is_acknowledged,
    ),
    Mutation(
        "R4",
        "answers are forgotten",
        incoming,
        "ANSWERS_MAX",
        broken.is_(0),
        hop.test_r4_a_chunk_whose_answer_was_lost_is_answered_again_and_handed_on_once,
    ),
    Mutation(
        "R4",
        "the tag binds the octets alone",
        one_time_pad,
        "carry_place",
        broken.always(b""),
        partial(hop.test_any_field_that_is_changed_is_found_out, "chunk.seq"),
    ),
    Mutation(
        "R4",
        "a pad is tried for ever",
        incoming,
        "FAILURES_MAX",
        broken.is_(1 << 30),
        hop.test_three_bad_frames_under_one_pad_end_it_with_an_alarm,
    ),
    Mutation(
        "R4",
        "one bad frame ends a pad",
        incoming,
        "FAILURES_MAX",
        broken.is_(1),
        hop.test_a_good_frame_after_two_bad_ones_is_still_opened,
    ),
    Mutation(
        "R13",
        "acknowledged before the next hop has it",
        Incoming,
        "_verify",
        acknowledged_early,
        hop.test_r13_a_chunk_is_acknowledged_only_once_the_next_hop_has_taken_it_over,
    ),
    Mutation(
        "R13",
        "no window",
        queues,
        "WINDOW",
        broken.is_(1 << 30),
        hop.test_r13_a_chunk_is_acknowledged_only_once_the_next_hop_has_taken_it_over,
    ),
    Mutation(
        "R13",
        "any number of pads at once",
        queues,
        "AWAITING_PAD_MAX",
        broken.is_(1 << 30),
        hop.test_r13_a_dry_hop_takes_over_a_few_chunks_and_answers_the_rest_late,
    ),
    Mutation(
        "R13",
        "any number is admitted",
        outgoing,
        "ADMITTED_MAX",
        broken.is_(1 << 30),
        hop.test_r13_a_dry_hop_takes_over_a_few_chunks_and_answers_the_rest_late,
    ),
    Mutation(
        "R13",
        "frames behind a slow hop count for ever",
        Outgoing,
        "_repeat",
        unrepeated_for_ever,
        partial(
            patched, hop.test_r13_frames_that_wait_behind_a_slow_hop_hold_no_other_share_for_long
        ),
    ),
    Mutation(
        "R13",
        "weights count for nothing",
        SendQueue,
        "weight",
        broken.is_(1),
        turns.test_a_weight_is_a_share_of_the_octets,
    ),
    Mutation(
        "R13",
        "a chunk waits for bits for ever",
        room,
        "give_up_s",
        broken.always(1e6),
        hop.test_r13_what_no_pad_comes_for_is_dropped_and_said_to_the_sessions,
    ),
    Mutation(
        "R13",
        "nobody hears of a share that stands still",
        Outgoing,
        "_report",
        broken.nothing,
        hop.test_r13_what_is_not_acknowledged_is_given_up_and_said_to_the_sessions,
    ),
    Mutation(
        "R13",
        "pads for an epoch that is over",
        SendQueue,
        "enter",
        broken.always([]),
        hop.test_a_chunk_of_a_new_epoch_drops_what_is_not_sent_of_the_one_before,
    ),
    Mutation(
        "R13",
        "a send queue takes part in no round",
        SendQueues,
        "join_round",
        broken.nothing,
        hop.test_chunks_cross_two_hops_and_each_is_sealed_anew,
    ),
    Mutation(
        "R13",
        "chunks stay large where bits are short",
        ChunkSource,
        "_adapt",
        broken.nothing,
        ends.test_chunks_shrink_when_they_are_taken_over_slowly,
    ),
    Mutation(
        "R14",
        "a share is the datagram",
        ChunkSource,
        "_split",
        whole_in_a_share,
        ends.test_r14_shares_go_over_their_own_paths_and_only_all_of_them_tell_anything,
    ),
    Mutation(
        "R14",
        "shares are not random",
        ChunkSource,
        "_split",
        known_shares,
        stories.test_r14_with_all_that_one_node_ever_held_over_a_reroute_too_no_key_can_be_computed,
    ),
    Mutation(
        "R14",
        "what went over old paths still counts",
        ChunkSource,
        "_withdraw",
        untold,
        ends.test_r14_a_closed_share_withdraws_what_is_undecided_before_others_are_used,
    ),
    Mutation(
        "R14",
        "the store keeps what is withdrawn",
        BlockSync,
        "on_withdrawn",
        without_effect,
        stories.test_r14_what_went_over_the_old_paths_and_was_undecided_never_counts,
    ),
    Mutation(
        "R14",
        "shares of two sessions meet",
        ShareAssembler,
        "add",
        of_any_session,
        ends.test_shares_of_two_sessions_do_not_meet_nor_those_of_unequal_length,
    ),
    Mutation(
        "R14",
        "shares outlive their session",
        ShareAssembler,
        "drop",
        broken.nothing,
        ends.test_a_closed_share_takes_nothing_and_forgets_the_others,
    ),
    Mutation(
        "R14",
        "fewer paths than asked for",
        chunk_source,
        "_complete",
        broken.always(value=True),
        ends.test_without_all_shares_nothing_is_drawn,
    ),
    Mutation(
        "R14",
        "a chunk changes its path",
        Outgoing,
        "open",
        any_terms,
        hop.test_r14_other_terms_for_a_share_drop_what_was_on_its_way,
    ),
    Mutation(
        "R8",
        "first the world, then the store",
        ChunkSource,
        "_send",
        after_the_world,
        ends.test_nothing_is_passed_on_before_the_store_was_told,
    ),
]


@pytest.mark.parametrize("it", TABLE, ids=[f"{it.rule}: {it.what}" for it in TABLE])
def test_a_broken_rule_of_relay_is_noticed(it: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(it.owner, it.name, it.make(getattr(it.owner, it.name)))

    assert_noticed(it.witness)


def test_the_rules_of_relay_are_broken_at_least_once() -> None:
    assert {"R4", "R13", "R14"} <= {it.rule for it in TABLE}
