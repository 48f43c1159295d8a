"""Where two ends of a store stand, without actors."""

import pytest

from actors.ledger.peering_state import FIRST_EPOCH, LIMIT, PeeringState, ResumeOutcome
from actors.protocol.blocks import Head, Resume
from actors.storage.journal import Journal, Shelf


def state(start: int = 11) -> PeeringState:
    return PeeringState(Journal("b"), Shelf(()), start)


def answer(one: PeeringState, **changes: int) -> Resume:
    asked = one.ask(5)
    fields = {"start": 22, "number": 1, "random": 0, "nonce": asked.nonce, "seq": 0, "seen": 0}
    return Resume(**(fields | changes))


def resumed() -> PeeringState:
    one = state()
    assert one.judge(answer(one)) is ResumeOutcome.RESUMED
    return one


def test_an_open_question_is_repeated_under_the_same_nonce() -> None:
    one = state()

    first, second = one.ask(5), one.ask(6)

    assert first == second
    assert not one.resumed


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, ResumeOutcome.RESUMED),
        ({"nonce": 4}, ResumeOutcome.IGNORED),
        ({"start": 0}, ResumeOutcome.IGNORED),
        ({"start": -1}, ResumeOutcome.IGNORED),
        ({"seq": LIMIT}, ResumeOutcome.IGNORED),
        ({"seen": -1}, ResumeOutcome.IGNORED),
        ({"number": 2}, ResumeOutcome.JOIN),
        ({"random": 7}, ResumeOutcome.JOIN),
        ({"number": 0, "random": 99}, ResumeOutcome.BEHIND),
        ({"seq": 3}, ResumeOutcome.RESUMED),
        ({"seen": 1}, ResumeOutcome.ROLLED_BACK),
    ],
)
def test_a_resume_is_judged_by_nonce_epoch_and_seq(
    changes: dict[str, int], verdict: ResumeOutcome
) -> None:
    one = state()

    found = one.judge(answer(one, **changes))

    assert found is verdict
    assert one.resumed == (verdict is ResumeOutcome.RESUMED)


def test_a_peer_behind_what_was_seen_of_it_is_rolled_back() -> None:
    one = state()
    one.seen = 4

    assert one.judge(answer(one, seq=3)) is ResumeOutcome.ROLLED_BACK
    assert one.judge(answer(one, seq=4)) is ResumeOutcome.RESUMED


def test_the_seq_of_a_resume_and_of_every_word_counts_as_seen() -> None:
    one = state()
    one.judge(answer(one, seq=3))
    after_resume = one.seen

    one.admits(Head(22, 11, *FIRST_EPOCH, 9))
    one.admits(Head(22, 11, *FIRST_EPOCH, 7))
    one.admits(Head(22, 11, *FIRST_EPOCH, LIMIT))

    assert after_resume == 3
    assert one.seen == 9
    assert one.stale


@pytest.mark.parametrize(
    ("head", "counts", "doubt"),
    [
        (Head(22, 11, 1, 0, 1), True, False),
        (Head(23, 11, 1, 0, 1), False, True),
        (Head(22, 12, 1, 0, 1), False, True),
        (Head(22, 11, 2, 0, 1), False, True),
        (Head(22, 11, 0, 9, 1), False, False),
    ],
)
def test_a_word_counts_only_between_these_starts_in_this_epoch(
    head: Head, counts: bool, doubt: bool
) -> None:
    one = resumed()

    assert one.admits(head) is counts
    assert counts or one.doubtful(head) is doubt


def test_no_word_counts_while_a_question_is_open_and_none_opens_another() -> None:
    one = resumed()
    one.ask(6)

    assert not one.admits(Head(22, 11, 1, 0, 1))
    assert not one.doubtful(Head(23, 11, 1, 0, 1))


def test_an_epoch_begins_at_nothing_and_thaws() -> None:
    one = resumed()
    one.count()
    one.freeze()

    one.enter((2, 9))

    assert (one.epoch, one.seq, one.seen, one.committed) == ((2, 9), 0, 0, 0)
    assert not one.frozen
    assert not one.resumed


def test_both_ends_name_the_datagram_epoch_alike() -> None:
    one, two = state(11), state(22)
    one.judge(answer(one))
    two.judge(answer(two, start=11))

    assert one.datagram_epoch == two.datagram_epoch
    assert len(one.datagram_epoch) == 16


def test_what_was_committed_in_an_old_epoch_is_not_said_of_the_new_one() -> None:
    """The peer would hold the first commits of the epoch for lost, and destroy it again."""
    one = resumed()
    for _ in range(3):
        one.count()
    one.committed = one.seq

    one.enter((2, 7))

    assert one.head(now=True) == Head(11, 22, 2, 7, 0)
