"""Rules of pads, shares and sealed grants broken on purpose: some test must notice."""

from functools import partial

import pytest

from actors.crypto import one_time_pad
from actors.keystore import held_grants
from actors.keystore.allocation import Allocation
from actors.keystore.announcements import Announcements
from actors.keystore.held_grants import HeldGrants
from actors.keystore.pads import OwnPads, PeerPads, RelayGate
from actors.ledger import batches
from actors.ledger.batches import Batches
from actors.ledger.issued import Issued
from actors.ledger.pair_reserves import PairReserves
from actors.ledger.pieces import Pieces
from actors.ledger.shares import Shares
from actors.ledger.stream import Stream
from actors.rights.fair_queue import FairQueue
from actors.storage.journal import Journal
from actors.sync.fill_level import FillLevel
from actors.sync.peering import Peering
from tests.actors.crypto import test_one_time_pad as bound
from tests.actors.ledger import test_shares as fair
from tests.mutations import mutations_pads as broken
from tests.mutations.mutations import always, is_, nothing, usable_at_once, without_row
from tests.mutations.rewritten import assert_noticed
from tests.mutations.test_mutations import Mutation, Seeds
from tests.rules import test_rules_distant as distant
from tests.rules import test_rules_pads as pads
from tests.rules import test_rules_sealed as sealed
from tests.rules import test_rules_users as users

pytestmark = pytest.mark.slow

TABLE = [
    Mutation(
        "R4",
        "a pad is opened again",
        PeerPads,
        "open_pad",
        broken.opened_again,
        pads.test_r4_both_ends_have_the_same_octets_once,
    ),
    Mutation(
        "R4",
        "what was opened is not remembered",
        PeerPads,
        "open_pad",
        broken.not_remembered,
        pads.test_r4_both_ends_have_the_same_octets_once,
    ),
    Mutation(
        "R4",
        "a pad is opened again (seeds)",
        PeerPads,
        "open_pad",
        broken.opened_again,
        Seeds(),
    ),
    Mutation(
        "R4",
        "the same octets twice",
        Stream,
        "take",
        broken.same_octets_again,
        pads.test_r4_no_octet_of_a_pad_is_in_another_or_in_a_key,
    ),
    Mutation(
        "R4",
        "the same octets twice (seeds)",
        Stream,
        "take",
        broken.same_octets_again,
        Seeds(),
    ),
    Mutation(
        "R4",
        "a seal is not repeated as it was",
        Announcements,
        "_say_sealed",
        broken.sealed_anew,
        sealed.test_r4_a_sealed_grant_is_repeated_octet_for_octet,
    ),
    Mutation(
        "R4",
        "any tag is right",
        one_time_pad,
        "open_",
        broken.unverified,
        partial(
            sealed.test_r4_a_changed_grant_does_not_verify_and_the_true_one_still_does, "sealed"
        ),
    ),
    Mutation(
        "R4",
        "a seal is bound to no place",
        one_time_pad,
        "grant_place",
        always(b""),
        partial(
            sealed.test_r4_a_changed_grant_does_not_verify_and_the_true_one_still_does, "slaves"
        ),
    ),
    Mutation(
        "R4",
        "a chunk is bound to no place",
        one_time_pad,
        "carry_place",
        always(b""),
        bound.test_a_chunk_is_bound_to_its_place,
    ),
    Mutation(
        "R4",
        "forgeries without end",
        held_grants,
        "TRIES_MAX",
        is_(1 << 30),
        sealed.test_r4_a_few_forgeries_end_the_pad,
    ),
    Mutation(
        "R4",
        "sealed in the open",
        HeldGrants,
        "_hold",
        broken.held_in_the_open,
        partial(sealed.test_r4_sealed_is_sealed_and_open_is_open, "confirmed"),
    ),
    Mutation(
        "R6",
        "a pad leaves before the lease is held",
        Stream,
        "lease_next",
        usable_at_once,
        pads.test_r6_no_pad_leaves_before_the_peer_holds_the_lease,
    ),
    Mutation(
        "R7",
        "the mirror does not look",
        Pieces,
        "check",
        always(""),
        pads.test_r4_a_pad_opened_part_by_part_freezes_the_store,
    ),
    Mutation(
        "R7",
        "pads of any life",
        PeerPads,
        "_check",
        broken.head_of_anybody,
        pads.test_r7_after_a_start_of_the_opener_an_older_pad_is_stale,
    ),
    Mutation(
        "R7",
        "pads of an old epoch are kept",
        OwnPads,
        "new_epoch",
        broken.keeps_pads,
        pads.test_r7_pads_of_an_old_epoch_hold_no_segment_of_the_new_one,
    ),
    Mutation(
        "R7",
        "waits go on out of step",
        OwnPads,
        "_fail",
        broken.waits_go_on,
        pads.test_r7_who_waits_for_bits_hears_at_once_that_the_ends_are_out_of_step,
    ),
    Mutation(
        "R7",
        "old frames raise questions",
        PeerPads,
        "_outlived",
        always(value=False),
        pads.test_r7_frames_of_a_life_that_is_over_raise_no_question,
    ),
    Mutation(
        "R1",
        "a segment is closed under a pad",
        Stream,
        "take",
        broken.known_at_once,
        pads.test_r1_a_segment_is_closed_once_its_pads_are_done,
    ),
    Mutation(
        "R1",
        "pads are never done",
        OwnPads,
        "_no_more",
        nothing,
        pads.test_r1_a_segment_is_closed_once_its_pads_are_done,
    ),
    Mutation(
        "P5",
        "pads for anybody",
        RelayGate,
        "check",
        nothing,
        pads.test_pads_are_for_the_relay_of_this_peer_alone,
    ),
    Mutation(
        "R14",
        "what came over one path is used though two are asked for",
        Stream,
        "_burn_weak",
        nothing,
        partial(distant.test_r14_what_came_over_one_path_is_of_no_use_once_two_are_asked_for, "a"),
    ),
    Mutation(
        "R14",
        "the other end is told nothing of how many paths are asked for",
        FillLevel,
        "_say_paths",
        nothing,
        distant.test_r14_the_other_end_burns_what_it_owns_too,
    ),
    Mutation(
        "R14",
        "how many paths the peer asks for is forgotten at a start",
        Journal,
        "put",
        without_row("paths"),
        distant.test_r14_the_other_end_burns_what_it_owns_too,
    ),
    Mutation(
        "R14",
        "keys in what came over one path are taken of an older peer",
        HeldGrants,
        "_check_paths",
        always(""),
        distant.test_r14_an_older_peer_is_told_nothing_and_its_grants_are_refused,
    ),
    Mutation(
        "R14",
        "what was answered in local mode before the owner heard of it is refused",
        HeldGrants,
        "_check_paths",
        broken.always_refused,
        distant.test_r14_what_was_answered_before_the_owner_heard_of_it_is_kept,
    ),
    Mutation(
        "R14",
        "two sessions over a path each are as good as one over two",
        batches,
        "_together",
        broken.counts_paths,
        distant.test_r14_what_comes_over_too_few_paths_afterwards_is_burnt_and_the_rest_is_used,
    ),
    Mutation(
        "R13",
        "first come, first served",
        Shares,
        "ask",
        broken.first_come,
        fair.test_those_who_always_want_get_by_their_weights,
    ),
    Mutation(
        "R13",
        "SAEs here have no floor",
        Shares,
        "_local_first",
        always(value=False),
        fair.test_saes_here_get_their_share_while_they_have_less_than_their_floor,
    ),
    Mutation(
        "R13",
        "SAEs here take what others wait for",
        Shares,
        "for_local",
        broken.all_of_it,
        fair.test_nobody_here_takes_what_a_session_has_waited_for,
    ),
    Mutation(
        "R13",
        "SAEs here take what pads wait for",
        Shares,
        "for_local",
        broken.all_of_it,
        pads.test_r13_nobody_here_takes_what_a_pad_waits_for,
    ),
    Mutation(
        "R13",
        "one pair of SAEs takes what others need",
        PairReserves,
        "may_take",
        broken.all_that_is_there,
        users.test_a_pair_that_takes_all_leaves_another_its_reserve,
    ),
    Mutation(
        "R13",
        "requests of all pairs of SAEs stand in one line",
        FairQueue,
        "put",
        broken.one_line,
        users.test_small_requests_do_not_wait_for_large_ones_of_another_pair,
    ),
    Mutation(
        "R13",
        "an idle class saves up",
        Shares,
        "ask",
        broken.saves_up,
        fair.test_a_class_that_was_idle_has_saved_nothing_up,
    ),
    Mutation(
        "R13",
        "leases that are promised are given away",
        Shares,
        "next",
        broken.promised_too,
        fair.test_leases_that_are_promised_are_not_given_away,
    ),
    Mutation(
        "R13",
        "waiting in vain is paid for",
        Shares,
        "cancel",
        broken.paid_in_vain,
        fair.test_a_request_that_was_given_up_costs_its_class_nothing,
    ),
    Mutation(
        "R13",
        "waits without end",
        OwnPads,
        "_expire",
        nothing,
        pads.test_r13_a_pad_that_cannot_be_served_waits_and_is_told_so_in_time,
    ),
    Mutation(
        "R14",
        "what was withdrawn still counts",
        Batches,
        "withdraw",
        always(0),
        distant.test_r14_what_was_withdrawn_is_discarded_though_it_arrives,
    ),
    Mutation(
        "R9",
        "given before it is held",
        Allocation,
        "_seal",
        broken.given_at_once,
        sealed.test_r9_given_means_that_the_peer_holds_it_durably,
    ),
    Mutation(
        "R9",
        "what was given cannot be taken back",
        Announcements,
        "_void_aborted",
        nothing,
        sealed.test_r9_what_was_given_can_be_taken_back,
    ),
    Mutation(
        "R9",
        "what was settled can be taken back",
        Issued,
        "settle",
        nothing,
        sealed.test_r9_what_is_settled_stands,
    ),
    Mutation(
        "R9",
        "a void of what was given is not kept",
        Journal,
        "put",
        without_row("void"),
        sealed.test_r9_a_void_of_what_was_given_is_repeated_across_restarts,
    ),
    Mutation(
        "R7",
        "a void of what was given is written before Resume",
        Announcements,
        "_void_aborted",
        broken.void_before_resume,
        sealed.test_r9_taken_back_while_the_peer_is_away_it_is_void_once_it_is_there,
    ),
    Mutation(
        "P8",
        "requests wait for ever for a peer",
        Peering,
        "tick",
        broken.never_late,
        distant.test_a_request_to_a_peer_that_does_not_wake_is_refused_in_time,
    ),
]


@pytest.mark.parametrize("it", TABLE, ids=[f"{it.rule}: {it.what}" for it in TABLE])
def test_a_broken_rule_is_noticed(it: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(it.owner, it.name, it.make(getattr(it.owner, it.name)))

    assert_noticed(it.witness, TypeError)
