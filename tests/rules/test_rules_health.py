"""R21: each end tests its own copy of every batch of a link, and the verdict of both counts."""

from dataclasses import replace

import pytest

from actors.ledger.link_health import LinkHealth
from actors.protocol import blocks, links
from actors.protocol.common import Failed, Health, Healthy
from actors.protocol.peers import PeerSpeaks
from tests.kit.pair import Pair
from transport.message import Message, Secret

ZEROS = bytes(2000)


def judging(**options: object) -> Pair:
    """Two stores that know of each other that they understand a verdict."""
    pair = Pair(**options)  # type: ignore[arg-type]
    for node, peer in (("a", "b"), ("b", "a")):
        speaks = PeerSpeaks(peer=peer, words=(blocks.BlocksHeldJudged.wire,))
        pair.cluster.tell(pair.at(node), speaks)
    pair.cluster.settle()
    return pair


def bring(pair: Pair, sent: bytes = b"", came: bytes = b"") -> None:
    """Let a module at `a` give some octets, and the one at `b` these or others; to rest."""
    sent = sent or pair.dice.randbytes(2000)
    epoch = pair.store("a").state.datagram_epoch
    first, pair.seq = pair.seq, pair.seq + 1
    emitted = links.Emitted(epoch=epoch, first=first, payloads=(Secret(sent),))
    pair.cluster.tell(pair.at("a"), emitted)
    pair.arrive("b", epoch, first, came or sent)
    pair.cluster.advance(2.0)


def verdicts(pair: Pair) -> list[str]:
    """What the holder has said of each batch, by number."""
    return list({it.batch: it.verdict for it in pair.said(blocks.BlocksHeldJudged, "b")}.values())


def confirmed(pair: Pair) -> int:
    assert len(pair.store("a").stream.segments) == len(pair.store("b").stream.segments)
    return len(pair.store("a").stream.segments)


def fault(pair: Pair, node: str) -> str:
    health = pair.store(node).link_health
    assert isinstance(health, LinkHealth)
    return health.fault


def clear(pair: Pair, node: str) -> Message:
    return pair.cluster.ask(pair.at(node), links.ClearQuarantine())


def test_r21_a_batch_of_a_stuck_module_is_discarded_with_an_alarm_at_both_ends() -> None:
    pair = judging()

    bring(pair, ZEROS)

    assert verdicts(pair) == ["bad"]
    assert pair.said(blocks.BlocksDiscarded, "a")
    assert confirmed(pair) == 0
    assert fault(pair, "a") == fault(pair, "b") == "repeated_octets"
    for node in ("a", "b"):
        count = pair.cluster.count
        assert count(node, "protokms_alarms", kind="bad_bits") == 1
        assert count(node, "protokms_batches_bad") == 1
    assert not pair.rows("b", "bits")


def test_r21_good_batches_of_a_link_in_quarantine_are_held_tested_and_discarded() -> None:
    pair = judging()
    bring(pair, ZEROS)

    bring(pair)
    bring(pair)

    assert verdicts(pair) == ["bad", "quarantined", "quarantined"]
    assert confirmed(pair) == 0
    assert pair.alarms() == 2


def test_r21_what_was_confirmed_before_stays_usable() -> None:
    pair = judging()
    pair.fill(2)
    stock = pair.store("a").stream.octets

    bring(pair, ZEROS)

    assert pair.store("a").stream.octets == stock
    assert pair.fetch(pair.key().grant)


def test_r21_a_holder_that_finds_bits_bad_quarantines_its_end_alone() -> None:
    pair = judging()

    bring(pair, came=ZEROS)
    bring(pair)

    assert (fault(pair, "a"), fault(pair, "b")) == ("", "repeated_octets")
    assert verdicts(pair) == ["bad", "quarantined"]
    assert confirmed(pair) == 0
    clear(pair, "b")
    bring(pair)
    assert confirmed(pair) == 1


def test_r21_a_decider_that_finds_bits_bad_quarantines_its_end_alone() -> None:
    pair = judging()

    bring(pair, ZEROS, came=pair.dice.randbytes(2000))
    bring(pair)

    assert (fault(pair, "a"), fault(pair, "b")) == ("repeated_octets", "")
    assert verdicts(pair) == ["good", "good"]
    assert confirmed(pair) == 0
    clear(pair, "a")
    bring(pair)
    assert confirmed(pair) == 1


@pytest.mark.parametrize("verdict", ["bad", "quarantined", "", "Good"])
def test_r21_the_decider_goes_by_the_verdict_of_the_holder(verdict: str) -> None:
    pair = judging()
    pair.lost = {blocks.BlocksHeldJudged}
    bring(pair)
    (said, *_) = pair.said(blocks.BlocksHeldJudged)
    pair.lost = set()

    pair.say("a", replace(said, verdict=verdict))
    pair.cluster.advance(0.1)

    assert pair.said(blocks.BlocksDiscarded, "a")
    assert not pair.said(blocks.BlocksConfirmed)


def test_r21_a_word_without_a_verdict_counts_as_a_good_one() -> None:
    pair = Pair()

    bring(pair)

    assert pair.said(blocks.BlocksHeld, "b")
    assert not pair.said(blocks.BlocksHeldJudged)
    assert confirmed(pair) == 1


def test_r21_a_peer_that_hears_no_verdict_discards_what_the_holder_finds_bad() -> None:
    pair = Pair()
    decider = pair.store("a")
    decider.batches._health = None  # an older one tests nothing

    bring(pair, ZEROS)
    bring(pair)

    assert pair.said(blocks.BlocksHeld, "b")
    assert len(pair.said(blocks.BlocksDiscarded, "a")) >= 2
    assert confirmed(pair) == 0


def test_r2_a_batch_is_repeated_in_the_word_in_which_it_was_told_first() -> None:
    pair = Pair()
    pair.lost = {blocks.BlocksHeld}
    bring(pair)
    speaks = PeerSpeaks(peer="a", words=(blocks.BlocksHeldJudged.wire,))
    pair.cluster.tell(pair.at("b"), speaks)
    pair.cluster.advance(3.0)
    assert len(pair.said(blocks.BlocksHeld, "b")) > 2
    assert not pair.said(blocks.BlocksHeldJudged)


def test_r2_a_verdict_is_repeated_after_a_start() -> None:
    pair = judging()
    pair.lost = {blocks.BlocksHeldJudged}
    bring(pair, ZEROS)
    before = pair.said(blocks.BlocksHeldJudged)[0]
    pair.wire.clear()

    pair.cluster.restart("b")
    pair.cluster.advance(2.0)

    after = pair.said(blocks.BlocksHeldJudged)[-1]
    assert not pair.said(blocks.BlocksHeld)
    assert (after.runs, after.lengths, after.tag, after.verdict) == (
        *(before.runs, before.lengths, before.tag),
        "bad",
    )


def test_r21_a_quarantine_outlives_a_start_and_is_told_again() -> None:
    pair = judging()
    bring(pair, ZEROS)

    pair.cluster.restart("a")
    pair.cluster.advance(3.0)

    assert fault(pair, "a") == "repeated_octets"
    assert pair.cluster.count("a", "protokms_link_quarantined", peer="b") == 1
    bring(pair)
    assert confirmed(pair) == 0


def test_r21_an_operator_ends_it_for_good() -> None:
    pair = judging()
    bring(pair, ZEROS)

    answers = [clear(pair, "a"), clear(pair, "b"), clear(pair, "a")]

    assert answers == [links.QuarantineCleared(test=it) for it in (*["repeated_octets"] * 2, "")]
    assert not pair.rows("a", "quarantine")
    assert pair.cluster.count("a", "protokms_link_quarantined", peer="b") == 0
    pair.cluster.restart("a")
    pair.cluster.advance(3.0)
    bring(pair)
    assert confirmed(pair) == 1


def test_r21_so_many_good_batches_in_a_row_end_it() -> None:
    pair = judging(quarantine_good_batches=3)
    bring(pair, ZEROS)
    bring(pair)
    bring(pair)
    bring(pair, ZEROS)

    for _ in range(3):
        assert fault(pair, "a") == fault(pair, "b") == "repeated_octets"
        bring(pair)

    assert fault(pair, "a") == fault(pair, "b") == ""
    assert confirmed(pair) == 0
    bring(pair)
    assert confirmed(pair) == 1
    assert verdicts(pair)[-2:] == ["quarantined", "good"]


def test_r21_a_store_tells_of_its_quarantine_and_is_ready() -> None:
    pair = judging()

    bring(pair, ZEROS)

    told = pair.cluster.ask(pair.at("a"), Health())
    assert isinstance(told, Healthy)
    assert told.ready
    assert "repeated_octets" in told.waits[0]
    assert "protokms link clear b" in told.waits[0]
    assert dict(told.facts)["quarantine"] == "repeated_octets"


def test_r21_relayed_octets_are_not_tested() -> None:
    pair = judging(virtual=True)

    bring(pair, ZEROS)

    assert verdicts(pair) == ["good"]
    assert confirmed(pair) == 1
    answer = clear(pair, "a")
    assert isinstance(answer, Failed)
    assert answer.code == "not_allowed"
