"""Every rule of the ledger broken on purpose, one line at a time: some test must notice.

A mutation replaces one method, or one number, of the code under test; its witness is a test of
this folder, or a range of seeded runs, that must fail under it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from actors.crypto import batch_tag
from actors.keystore import delivery as delivery_of
from actors.keystore import loading as loading_of
from actors.keystore.allocation import Allocation
from actors.keystore.announcements import Announcements
from actors.keystore.delivery import Delivery
from actors.keystore.held_grants import HeldGrants
from actors.keystore.key_store import KeyStore
from actors.keystore.limits import Limits
from actors.keystore.loading import Loading
from actors.ledger import batches, issued
from actors.ledger.batches import Batches
from actors.ledger.held import Held
from actors.ledger.peering_state import PeeringState
from actors.ledger.pieces import Pieces
from actors.ledger.segment import Segment
from actors.ledger.stream import Stream
from actors.protocol import keys
from actors.storage import file, sealing
from actors.storage.group_commit import GroupCommit
from actors.storage.journal import Journal
from actors.sync import block_sync
from actors.sync.block_sync import BlockSync
from actors.sync.peering import Peering
from actors.sync.segments import Segments
from etsi.http import identity
from tests.etsi.http import test_identity
from tests.kit.two_ends import run
from tests.mutations import mutations as broken
from tests.mutations.rewritten import HOWEVER
from tests.protokms.testing import test_testing_kms as story
from tests.rules import test_rules_backup as backup
from tests.rules import test_rules_delivery as delivery
from tests.rules import test_rules_grants as given
from tests.rules import test_rules_liar as liar
from tests.rules import test_rules_loading as loading
from tests.rules import test_rules_refused as refused
from tests.rules import test_rules_resume as resume
from tests.rules import test_rules_stream as stream
from tests.transport import test_curve, test_message, test_session
from transport import curve, message, session
from transport.message import Secret

pytestmark = pytest.mark.slow

Witness = Callable[[], Any]


@dataclass(frozen=True)
class Seeds:
    """Seeded runs, the first of which that fails is the witness."""

    first: int = 0
    last: int = 80

    def __call__(self) -> None:
        for seed in range(self.first, self.last):
            run(seed)


@dataclass(frozen=True)
class Mutation:
    """One broken line: `owner.name` becomes `make(what it was)`."""

    rule: str
    what: str
    owner: Any
    name: str
    make: Callable[[Any], Any]
    witness: Witness


"""However a test fails."""


MISFITS = AttributeError, TypeError, NameError, ImportError
"""How a test fails whose mutation, or whose witness, does not fit the code."""


def causes(why: BaseException | None) -> Iterator[BaseException]:
    """What a test failed of, and what that came of."""
    while why:
        yield why
        why = why.__cause__


def with_folder(test: Callable[[Path], None]) -> Witness:
    """A test that wants a folder."""

    def witness() -> None:
        with TemporaryDirectory() as folder:
            test(Path(folder))

    return witness


def with_slow_rows(test: Callable[[loading.Slow], None]) -> Witness:
    """A test that lets rows come in after a start."""

    def witness() -> None:
        with pytest.MonkeyPatch.context() as patch:
            test(loading.slow_rows(patch))

    return witness


def unbounded() -> None:
    """The test of bounded requests, its own limits put in by hand."""
    with pytest.MonkeyPatch.context() as patch:
        delivery.test_r17_requests_that_wait_are_bounded(patch)


def unacknowledged() -> None:
    """The test of bounded grants under way, its own limit put in by hand."""
    with pytest.MonkeyPatch.context() as patch:
        given.test_r9_nothing_is_spent_while_too_many_grants_are_unacknowledged(patch)


def leaky() -> None:
    """The test of a word with a secret in it, which must not stay declared."""
    try:
        test_message.test_a_wire_word_that_could_hold_a_secret_is_an_error_at_declaration(Secret)
    finally:
        message._doors.pop("test.leaky/1", None)


TABLE = [
    Mutation(
        "R1",
        "datagrams of any epoch",
        BlockSync,
        "_of_this_epoch",
        broken.always(value=True),
        stream.test_r1_a_datagram_of_another_pair_of_starts_is_dropped,
    ),
    Mutation(
        "R1",
        "datagrams before Resume",
        BlockSync,
        "_of_this_epoch",
        lambda _: lambda self, epoch: epoch == self._peer.state.datagram_epoch,
        stream.test_r1_no_datagram_is_taken_before_resume,
    ),
    Mutation(
        "R1",
        "a duplicate is taken again",
        batches,
        "DATAGRAMS_MAX",
        broken.is_(0),
        stream.test_r1_a_datagram_that_comes_twice_is_in_one_batch,
    ),
    Mutation(
        "R1",
        "arrived octets outlive Resume",
        Batches,
        "forget_arrived",
        broken.nothing,
        stream.test_r1_what_lies_in_no_batch_at_a_resume_is_dropped,
    ),
    Mutation(
        "R1",
        "emitted octets are kept for ever",
        Batches,
        "forget_emitted",
        broken.always(0),
        stream.test_r1_what_no_batch_names_in_time_is_discarded_at_the_sender,
    ),
    Mutation(
        "R1",
        "a batch of any size",
        Batches,
        "form",
        broken.forms_any,
        stream.test_r1_a_batch_of_a_link_makes_a_chunk_with_both_tag_keys,
    ),
    Mutation(
        "R1",
        "idle segments are kept",
        Stream,
        "burn_idle",
        broken.nothing,
        stream.test_r1_an_idle_segment_is_burnt_but_no_grant_in_it,
    ),
    Mutation(
        "R1",
        "a close does not wait for the confirmation",
        Batches,
        "awaits",
        broken.always(value=False),
        stream.test_r1_a_close_that_overtakes_the_confirmation_waits_for_it,
    ),
    Mutation(
        "R2",
        "the holder forgets its batches",
        Journal,
        "put",
        broken.without_row("held"),
        stream.test_r2_the_holder_never_discards_by_itself,
    ),
    Mutation(
        "R2",
        "the decider forgets its decision",
        Journal,
        "put",
        broken.without_row("decided"),
        stream.test_r2_the_decider_repeats_its_decision_across_a_restart_until_it_is_settled,
    ),
    Mutation(
        "R2",
        "the decider decides anew",
        Batches,
        "decide",
        broken.anew,
        stream.test_r2_a_batch_is_decided_once,
    ),
    Mutation(
        "R2",
        "words are not repeated",
        BlockSync,
        "repeat",
        broken.nothing,
        stream.test_r2_the_holder_repeats_the_same_batch_until_it_hears_the_decision,
    ),
    Mutation(
        "R2",
        "a full store never says that there is room",
        BlockSync,
        "repeat_credit",
        broken.nothing,
        stream.test_r2_a_full_store_pauses_the_far_sender_and_lets_it_go_on,
    ),
    Mutation(
        "R3",
        "any tag is right",
        batch_tag,
        "agrees",
        broken.always(value=True),
        stream.test_r3_one_wrong_octet_and_the_batch_is_discarded,
    ),
    Mutation(
        "R3",
        "the tag key is not burnt",
        batches,
        "batch_tag",
        broken.is_(broken.Unburnt),
        stream.test_r3_the_tag_key_is_burnt_at_both_ends,
    ),
    Mutation(
        "R3",
        "undecided batches outlive the epoch",
        Batches,
        "destroy",
        broken.nothing,
        stream.test_r3_undecided_batches_die_with_the_epoch,
    ),
    Mutation(
        "R4",
        "a second text under one tag key",
        Batches,
        "__init__",
        broken.forgotten_tag,
        stream.test_r4_a_tag_key_is_bound_to_one_text_across_restarts,
    ),
    Mutation(
        "R5",
        "both ends own what they hold",
        Stream,
        "enter",
        broken.both_own,
        stream.test_r5_the_first_owner_is_the_parity_of_the_batch,
    ),
    Mutation(
        "R5",
        "any number of a transfer counts",
        Stream,
        "accept",
        broken.any_number,
        stream.test_r5_a_transfer_counts_only_with_the_next_number,
    ),
    Mutation(
        "R5",
        "a transfer is told before its commit",
        Segments,
        "_say_transfer",
        broken.told_before_commit,
        stream.test_r5_not_mine_is_durable_before_the_peer_hears_of_it,
    ),
    Mutation(
        "R5",
        "a transfer is told once",
        Segments,
        "repeat",
        broken.nothing,
        stream.test_r5_a_transfer_is_repeated_until_it_is_taken_and_then_both_agree,
    ),
    Mutation(
        "R5",
        "leased segments move",
        Stream,
        "newest",
        lambda _: lambda self: next(iter(self._ready.values()), None),
        stream.test_r5_only_segments_never_leased_move,
    ),
    Mutation(
        "R5",
        "nobody gives",
        Segments,
        "want",
        broken.nothing,
        stream.test_r5_an_end_without_bits_gets_some_of_the_other_end,
    ),
    Mutation(
        "R6",
        "a lease is used before the peer holds it",
        Stream,
        "lease_next",
        broken.usable_at_once,
        stream.test_r6_nothing_is_used_before_the_peer_holds_the_lease,
    ),
    Mutation(
        "R6",
        "a lease held is told before its commit",
        GroupCommit,
        "effect",
        broken.at_once,
        stream.test_r6_a_lease_is_held_only_when_it_is_durable_at_the_peer,
    ),
    Mutation(
        "R6",
        "leases are not burnt at a start",
        Stream,
        "burn",
        broken.unburnt,
        stream.test_r6_the_rest_of_every_lease_is_burnt_at_a_start,
    ),
    Mutation(
        "R6", "leases are not burnt at a start (seeds)", Stream, "burn", broken.unburnt, Seeds()
    ),
    Mutation(
        "R6",
        "the next lease waits for the last to end",
        KeyStore,
        "lease_octets",
        broken.is_(1),
        stream.test_r6_a_lease_is_asked_for_while_the_last_is_in_use,
    ),
    Mutation(
        "R7",
        "words of any start count",
        PeeringState,
        "_same",
        broken.other_start,
        partial(resume.test_r7_a_word_of_another_start_or_epoch_changes_nothing, "mine"),
    ),
    Mutation(
        "R7",
        "words are not asked whether they count",
        KeyStore,
        "admits",
        broken.always(value=True),
        resume.test_r7_a_word_of_an_unknown_start_makes_an_end_ask,
    ),
    Mutation(
        "R7",
        "words of any epoch count",
        PeeringState,
        "admits",
        broken.any_head,
        partial(resume.test_r7_a_word_of_another_start_or_epoch_changes_nothing, "random"),
    ),
    Mutation(
        "R7",
        "a Resume without the nonce counts",
        PeeringState,
        "judge",
        broken.without_nonce,
        resume.test_r7_a_resume_counts_only_with_the_nonce_of_the_open_question,
    ),
    Mutation(
        "R7",
        "grants are allocated before Resume",
        Allocation,
        "_check_touch",
        broken.nothing,
        resume.test_r7_between_question_and_answer_nothing_else_is_handled_or_allocated,
    ),
    Mutation(
        "R7",
        "voids are counted before Resume",
        Announcements,
        "_void",
        broken.voids_early,
        resume.test_r7_a_grant_is_not_voided_before_resume_though_its_master_gives_up,
    ),
    Mutation(
        "R7",
        "no question after a reconnect",
        Peering,
        "ask",
        broken.nothing,
        resume.test_r7_an_end_asks_again_after_every_reconnect,
    ),
    Mutation(
        "R7",
        "rows do not count",
        PeeringState,
        "count",
        lambda _: PeeringState.save,
        resume.test_r7_every_row_of_which_the_peer_may_hear_counts,
    ),
    Mutation(
        "R7",
        "deliveries count",
        Delivery,
        "written",
        broken.counts,
        resume.test_r7_every_row_of_which_the_peer_may_hear_counts,
    ),
    Mutation(
        "R7",
        "what was seen is not stored",
        KeyStore,
        "before_commit",
        broken.unsaved,
        resume.test_r7_the_highest_seq_seen_is_stored_with_what_the_word_caused,
    ),
    Mutation(
        "R7",
        "a rollback is not noticed",
        PeeringState,
        "judge",
        broken.undetected,
        partial(resume.test_r7_an_end_put_back_to_before_a_lease_is_noticed, "a"),
    ),
    Mutation(
        "R7",
        "a rollback is not noticed (seeds)",
        PeeringState,
        "judge",
        broken.undetected,
        Seeds(0, 400),
    ),
    Mutation(
        "R7",
        "the lower epoch does not join",
        PeeringState,
        "judge",
        broken.never_joins,
        resume.test_r7_the_larger_epoch_wins_and_the_lower_end_joins_it_at_nothing,
    ),
    Mutation(
        "R7",
        "grants held keep places in the closed epoch",
        Held,
        "epoch_closed",
        broken.hold_with_old_pieces,
        with_slow_rows(loading.test_grants_that_are_not_loaded_outlive_a_new_epoch),
    ),
    Mutation(
        "R7",
        "an overlap is not noticed",
        Segment,
        "overlaps",
        broken.always(value=False),
        resume.test_r7_a_true_overlap_is_refused_freezes_the_store_and_alarms,
    ),
    Mutation(
        "R7",
        "the same grant again is an overlap",
        Held,
        "knows",
        broken.always(value=False),
        resume.test_r7_the_same_grant_again_is_no_overlap,
    ),
    Mutation(
        "R7",
        "a frozen store thaws at a start",
        PeeringState,
        "freeze",
        lambda _: lambda self: setattr(self, "frozen", True),
        resume.test_r7_a_true_overlap_is_refused_freezes_the_store_and_alarms,
    ),
    Mutation(
        "R8",
        "answers leave before the commit (local)",
        GroupCommit,
        "effect",
        broken.at_once,
        partial(resume.test_r8_nothing_is_answered_that_is_not_durable, "local"),
    ),
    Mutation(
        "R8",
        "answers leave before the commit (confirmed)",
        GroupCommit,
        "submit",
        broken.not_durable,
        partial(resume.test_r8_nothing_is_answered_that_is_not_durable, "confirmed"),
    ),
    Mutation(
        "R8",
        "keys leave before the commit",
        GroupCommit,
        "effect",
        broken.at_once,
        resume.test_r8_a_key_leaves_only_when_its_delivery_is_durable,
    ),
    Mutation(
        "R8",
        "keys asked for of their owner leave before the commit",
        Delivery,
        "_serve",
        broken.fetched_at_once,
        given.test_r8_local_keys_that_were_asked_for_of_their_owner_leave_when_that_is_durable,
    ),
    Mutation(
        "R8",
        "a void is acknowledged before its commit",
        HeldGrants,
        "on_void",
        broken.void_held_at_once,
        given.test_r8_a_void_is_acknowledged_when_it_is_durable_at_the_slaves_side,
    ),
    Mutation(
        "R8",
        "effects before the commit (seeds)",
        GroupCommit,
        "submit",
        broken.not_durable,
        Seeds(0, 200),
    ),
    Mutation(
        "R8",
        "receipts begin at 0 in each life",
        Held,
        "__init__",
        lambda o: lambda self, *a, **k: o(self, *a, **(k | {"receipts_from": 0})),
        resume.test_r8_a_receipt_of_an_earlier_life_means_nothing_in_the_next,
    ),
    Mutation(
        "R9",
        "a void is not durable",
        Journal,
        "put",
        broken.without_row("void"),
        given.test_r9_a_void_is_repeated_until_acknowledged_across_restarts,
    ),
    Mutation(
        "R9",
        "a void is told before its commit",
        GroupCommit,
        "effect",
        broken.at_once,
        given.test_r9_a_grant_given_up_is_void_before_the_peer_hears_of_it,
    ),
    Mutation(
        "R9",
        "a void of an unknown id is forgotten",
        Held,
        "void",
        broken.void_unknown_is_no_news,
        given.test_r9_a_void_beats_a_later_announcement_of_an_id_never_heard,
    ),
    Mutation(
        "R9",
        "a void grant is answered when held comes late",
        issued.Issued,
        "void",
        broken.void_stays_waiting,
        given.test_r9_a_void_grant_is_never_answered_though_held_comes_late,
    ),
    Mutation(
        "R9",
        "finished ids are forgotten",
        Held,
        "_put_tomb",
        broken.nothing,
        given.test_r9_the_ids_of_finished_grants_are_known_while_a_repeat_can_come,
    ),
    Mutation(
        "R9",
        "segments are closed under open grants",
        Stream,
        "closable",
        lambda _: lambda self: list(self._finished.values()),
        given.test_r9_a_segment_lives_until_the_fate_of_its_grants_is_known,
    ),
    Mutation(
        "R9",
        "a local grant is not durable at its issuer",
        Journal,
        "put",
        broken.without_row("unheard"),
        given.test_r9_local_the_announcement_is_repeated_until_acknowledged_across_a_restart,
    ),
    Mutation(
        "R9",
        "nothing is announced twice",
        issued.Issued,
        "due",
        broken.always([]),
        given.test_r9_local_the_announcement_is_repeated_until_acknowledged_across_a_restart,
    ),
    Mutation(
        "R9",
        "the owner is not asked",
        delivery_of,
        "QUERIES_MAX",
        broken.is_(0),
        given.test_r9_local_the_slaves_side_asks_the_owner_before_it_says_no,
    ),
    Mutation(
        "R9",
        "local grants are refused for limits",
        HeldGrants,
        "_hold",
        broken.refused_for_limits,
        given.test_r9_local_an_announcement_is_never_refused_for_limits,
    ),
    Mutation(
        "R9",
        "bits are spent while the peer is down",
        Allocation,
        "_check_touch",
        broken.nothing,
        given.test_r9_nothing_is_spent_while_the_peer_is_down,
    ),
    Mutation(
        "P5",
        "any SAE may be named",
        HeldGrants,
        "_check_ends",
        broken.anybody,
        partial(given.test_p5_a_peer_speaks_only_for_saes_that_are_bound_to_it, "bob", ("bert",)),
    ),
    Mutation(
        "P5",
        "any master will do",
        Held,
        "_find",
        lambda _: lambda self, _m, name: self.holdings.get(name.grant),
        given.test_p5_only_an_sae_named_for_a_key_gets_it_and_only_as_its_masters,
    ),
    Mutation(
        "R10",
        "the index is laid out backwards",
        keys,
        "key_id",
        lambda o: lambda grant, index: o(grant, int.from_bytes(index.to_bytes(4, "little"))),
        given.test_r10_a_key_id_is_the_grant_and_the_index_laid_out_as_a_uuid,
    ),
    Mutation(
        "R10",
        "the id is made of key bits",
        Allocation,
        "_allocate",
        broken.key_as_id,
        given.test_r10_an_id_is_random_and_holds_no_key_bits,
    ),
    Mutation(
        "R11",
        "delivering is not durable",
        Journal,
        "put",
        broken.without_row("window"),
        delivery.test_r11_delivering_is_durable_and_its_window_begins_anew_with_each_start,
    ),
    Mutation(
        "R11",
        "a written response counts as broken",
        Held,
        "written",
        lambda _: Held.broken,
        delivery.test_r11_a_key_is_not_given_again_after_a_written_response,
    ),
    Mutation(
        "R11",
        "a written response counts as broken (seeds)",
        Held,
        "written",
        lambda _: Held.broken,
        Seeds(0, 30),
    ),
    Mutation(
        "R11",
        "a key under way is given again",
        Held,
        "_under_way",
        broken.always(value=False),
        delivery.test_r11_nor_while_the_response_is_under_way,
    ),
    Mutation(
        "R11",
        "a late report is ignored",
        Held,
        "broken",
        broken.broken_forgets,
        delivery.test_r11_a_report_that_comes_late_still_counts,
    ),
    Mutation(
        "R11",
        "the window does not begin anew",
        Held,
        "__init__",
        broken.unread_window,
        delivery.test_r11_delivering_is_durable_and_its_window_begins_anew_with_each_start,
    ),
    Mutation(
        "R12",
        "deadlines ignore boots",
        Held,
        "_deadline",
        broken.any_boot,
        partial(
            given.test_r12_a_deadline_outlives_a_restart_and_begins_anew_with_a_boot,
            given.reboot,
            60.0,
        ),
    ),
    Mutation(
        "R12",
        "nothing expires",
        Held,
        "tick",
        broken.always([]),
        given.test_r12_a_grant_expires_at_the_slaves_side_after_its_time,
    ),
    Mutation(
        "R12",
        "no limit on undelivered bits",
        Held,
        "room",
        broken.always(1 << 40),
        partial(
            given.test_r12_more_undelivered_bits_than_allowed_are_refused,
            "max_undelivered_bits_per_pair",
        ),
    ),
    Mutation(
        "R15",
        "a sealed value is bound to no place",
        sealing.RowSealer,
        "_binder",
        broken.binds_to_nothing,
        with_folder(delivery.test_r15_a_row_moved_to_another_place_is_not_opened),
    ),
    Mutation(
        "R15",
        "key octets in the clear part of a row",
        Journal,
        "put",
        broken.in_clear,
        delivery.test_r15_key_octets_are_only_in_values_that_are_sealed,
    ),
    Mutation(
        "R16",
        "used octets are not wiped",
        Stream,
        "wipe",
        broken.nothing,
        delivery.test_r16_delivered_keys_are_in_no_row_after_erase_s,
    ),
    Mutation(
        "R16",
        "the log is not truncated",
        file,
        "truncate_log",
        broken.always(value=True),
        with_folder(delivery.test_r16_a_dropped_row_is_neither_in_the_database_nor_in_the_log),
    ),
    Mutation(
        "R17", "a request is never too many", Allocation, "get_key", broken.never_busy, unbounded
    ),
    Mutation(
        "R17",
        "any number of octets may wait",
        block_sync,
        "WINDOW",
        broken.is_(1 << 40),
        delivery.test_r17_octets_that_wait_are_bounded,
    ),
    Mutation(
        "P8",
        "loads of anybody are kept",
        Announcements,
        "on_held",
        broken.loads_of_anybody,
        liar.test_loads_of_saes_that_are_none_take_no_memory,
    ),
    Mutation(
        "R7",
        "a void goes on with its places in the closed epoch",
        issued.Issued,
        "epoch_closed",
        broken.voids_keep_places,
        resume.test_r7_a_void_that_goes_on_in_the_next_epoch_touches_nothing_of_it,
    ),
    Mutation(
        "R7",
        "a pending void ends with the epoch",
        issued.Issued,
        "epoch_closed",
        broken.voids_end,
        resume.test_r7_a_grant_given_up_is_void_though_an_epoch_began_before_the_peer_heard_of_it,
    ),
    Mutation(
        "R7",
        "a wiped node goes on in the old epoch",
        PeeringState,
        "judge",
        broken.undetected,
        backup.test_a_wiped_node_begins_a_new_epoch_with_its_peer,
    ),
    Mutation(
        "R1",
        "a lease that got lost keeps its segment open",
        Stream,
        "close",
        broken.closes_only_leased,
        stream.test_r1_a_segment_whose_lease_got_lost_with_its_owner_is_burnt_at_both_ends,
    ),
    Mutation(
        "P8",
        "voids of any id are kept",
        Pieces,
        "used",
        broken.always(value=False),
        liar.test_voids_of_ids_never_heard_take_no_memory_beyond_the_octets_they_name,
    ),
    Mutation(
        "R9",
        "a copy of a refused grant is held",
        HeldGrants,
        "_note_refused",
        broken.nothing,
        refused.test_r9_a_grant_that_was_refused_is_not_held_when_a_copy_comes_later,
    ),
    Mutation(
        "R9",
        "grants without limit wait for their acknowledgement",
        issued.Issued,
        "unacked",
        broken.is_(property(lambda _: 0)),
        unacknowledged,
    ),
    Mutation(
        "R12",
        "the owner of local grants forgets what lies undelivered",
        issued.Undelivered,
        "told",
        broken.nothing,
        partial(
            given.test_r9_local_the_limits_hold_however_slowly_a_master_asks,
            "max_undelivered_bits_per_sae",
        ),
    ),
    Mutation(
        "R12",
        "what is not acknowledged is not undelivered",
        issued.Undelivered,
        "unacknowledged",
        broken.nothing,
        given.test_r9_local_grants_that_the_peer_has_not_acknowledged_count_too,
    ),
    Mutation(
        "R12",
        "an owner that was started again believes that all was fetched",
        Limits,
        "must_ask",
        broken.always([]),
        partial(
            given.test_r12_local_an_owner_that_was_started_again_asks_what_is_not_fetched,
            "max_undelivered_bits_per_pair",
        ),
    ),
    Mutation(
        "R12",
        "an owner believes what a peer held before it went back",
        Limits,
        "resumed",
        broken.nothing,
        given.test_r12_local_a_peer_that_went_back_to_a_copy_is_asked_what_it_holds,
    ),
    Mutation(
        "R12",
        "a limit once reached is reached for ever",
        HeldGrants,
        "on_load_query",
        broken.nothing,
        given.test_r9_local_the_owner_asks_what_was_fetched_meanwhile,
    ),
    Mutation(
        "R18",
        "numbers return after a start",
        Held,
        "_next",
        broken.counts_on,
        with_slow_rows(loading.test_a_number_is_never_used_again_or_its_grant_would_not_be_marked),
    ),
    Mutation(
        "R18",
        "the newest grants are left for later",
        loading_of,
        "_newest",
        broken.always(()),
        with_slow_rows(
            loading.test_what_was_held_after_the_last_wipe_is_marked_before_the_store_serves
        ),
    ),
    Mutation(
        "R18",
        "an announcement of what is not loaded is judged",
        HeldGrants,
        "_may_be_held",
        broken.always(value=False),
        with_slow_rows(loading.test_a_repeated_announcement_of_what_lies_on_the_disk_waits_for_it),
    ),
    Mutation(
        "R18",
        "a void of what is not loaded is judged",
        HeldGrants,
        "_may_be_held",
        broken.always(value=False),
        with_slow_rows(loading.test_a_void_of_what_lies_on_the_disk_waits_for_it),
    ),
    Mutation(
        "R18",
        "what is not loaded counts for nobody",
        Held,
        "_weigh",
        broken.weighs_nothing,
        with_slow_rows(loading.test_limits_count_what_is_not_loaded_for_each_pair_at_once),
    ),
    Mutation(
        "R18",
        "rows that do not come are not missed",
        Loading,
        "_end",
        broken.misses_nothing,
        with_slow_rows(loading.test_rows_that_an_index_does_not_lead_to_are_missed),
    ),
    Mutation(
        "R9",
        "grants of earlier starts of their issuer count on",
        Held,
        "issued_by",
        broken.always(None),
        loading.test_p7_grants_of_earlier_starts_of_the_issuer_count_against_a_bound_of_their_own,
    ),
    Mutation(
        "R9",
        "which grants are of earlier starts is forgotten at a start",
        Held,
        "_loads_at",
        broken.none_is_former,
        with_slow_rows(loading.test_p7_earlier_starts_are_known_after_a_start_of_the_slaves_side),
    ),
    Mutation(
        "P1",
        "the slaves' side cuts other octets",
        Pieces,
        "_cut",
        broken.cuts_beside,
        given.test_r9_keys_are_equal_at_both_ends_and_for_every_slave,
    ),
    Mutation(
        "P1",
        "the slaves' side cuts other octets (seeds)",
        Pieces,
        "_cut",
        broken.cuts_beside,
        Seeds(0, 10),
    ),
    Mutation(
        "P2",
        "octets are taken twice (seeds)",
        Stream,
        "take",
        broken.takes_again,
        Seeds(0, 10),
    ),
    Mutation(
        "P3",
        "what is held is not durable",
        Journal,
        "put",
        broken.without_row("holding"),
        story.test_keys_survive_the_crash_of_both_nodes,
    ),
    Mutation(
        "P3",
        "what is held is not durable (seeds)",
        Journal,
        "put",
        broken.without_row("holding"),
        Seeds(0, 20),
    ),
    Mutation(
        "P4",
        "a delivered key stays in its row",
        Journal,
        "drop",
        broken.drops_no_grants,
        delivery.test_p4_a_key_delivered_to_everybody_is_in_no_row,
    ),
    Mutation(
        "P5",
        "the gate knows everybody",
        curve.Gate,
        "_judge",
        broken.admits_any_key,
        test_curve.test_the_gate_opens_for_a_known_curve_key_and_nothing_else,
    ),
    Mutation(
        "P5",
        "every door is open",
        session.Doors,
        "check",
        broken.nothing,
        partial(
            test_session.test_a_peer_is_refused_elsewhere_and_counted, *test_session.REFUSED[0]
        ),
    ),
    Mutation(
        "P5",
        "a denied SAE is served",
        identity.DenyList,
        "objection",
        broken.always(""),
        test_identity.test_a_deny_list_takes_fingerprints_however_they_are_written,
    ),
    Mutation(
        "P6",
        "a secret shows itself",
        Secret,
        "__repr__",
        broken.shown,
        test_message.test_a_secret_never_shows_itself,
    ),
    Mutation(
        "P7",
        "a word to peers may hold a secret",
        message,
        "_holds_secret",
        broken.always(value=False),
        leaky,
    ),
    Mutation(
        "P7",
        "key bits in a word to the peer (seeds)",
        Allocation,
        "_allocate",
        broken.key_as_id,
        Seeds(0, 5),
    ),
    Mutation(
        "P9",
        "a status knows no limits",
        Limits,
        "_peer_room",
        broken.always(1 << 40),
        partial(
            given.test_p9_the_status_knows_of_the_limits_of_undelivered_keys,
            "confirmed",
            "max_undelivered_bits_per_pair",
        ),
    ),
    Mutation(
        "P9",
        "a status counts what cannot be handed out",
        Limits,
        "get_status",
        broken.status_of_all,
        given.test_p9_the_status_is_what_can_be_handed_out,
    ),
    Mutation(
        "P9",
        "what was promised in the old epoch is kept in the next",
        Allocation,
        "new_epoch",
        broken.still_promised,
        given.test_p9_nothing_stays_promised_to_who_waited_when_the_epoch_ended,
    ),
]


@pytest.mark.parametrize("it", TABLE, ids=[f"{it.rule}: {it.what}" for it in TABLE])
def test_a_broken_rule_is_noticed(it: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(it.owner, it.name, it.make(getattr(it.owner, it.name)))

    with pytest.raises(HOWEVER) as noticed:
        it.witness()

    assert not [why for why in causes(noticed.value) if isinstance(why, MISFITS)]


def test_every_rule_and_every_promise_is_broken_at_least_once() -> None:
    rules = {it.rule for it in TABLE}

    assert {f"R{n}" for n in (*range(1, 13), 15, 16, 17, 18)} <= rules
    assert {f"P{n}" for n in range(1, 10)} <= rules
