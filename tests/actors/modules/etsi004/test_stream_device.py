"""Two nodes whose bits come from a key stream: with good devices, and with each kind of bad."""

from collections import Counter
from dataclasses import replace

import pytest

from actors.links.quantum_link import QuantumLink
from actors.modules.devices.device import DeviceError
from actors.modules.etsi004.talk import (
    INDEX_MAX,
    Answer,
    Chunks,
    Close,
    NamedKeys,
    NewKeys,
    Open,
    Opened,
    Request,
)
from actors.modules.module import Role
from protokms.testing.kms import KmsNetwork
from tests.kit.device_pair import A, B, alarm, both_fetch, errors, link, network, stock
from tests.kit.twin_devices import Twins
from tests.kit.twin_streams import CHUNK, TwinStreams, Wrong, only
from tests.kit.twins import always, well
from transport.message import Secret


def opened(twins: TwinStreams, end: int) -> int:
    return sum(1 for at, asked in twins.asked if at == end and isinstance(asked, Open))


@pytest.mark.parametrize(
    "roles", [("sender", "receiver"), ("receiver", "sender"), ("both", "both")]
)
def test_bits_of_a_key_stream_become_keys_at_both_ends(roles: tuple[Role, Role]) -> None:
    twins = TwinStreams(roles)
    kms = network(twins)

    kms.advance(20.0)

    assert stock(kms) == stock(kms, B) > 0.9 * 18 * twins.rate * CHUNK
    assert both_fetch(kms)
    assert link(kms).waits == link(kms, B).waits == ()
    givers = {end for end, asked in twins.asked if isinstance(asked, NewKeys)}
    assert givers == {end for end, role in enumerate(roles) if role != "receiver"}
    assert opened(twins, 0) == opened(twins, 1) == len(givers)


def test_a_stream_without_key_is_read_a_few_times_a_second_and_is_no_error() -> None:
    twins = TwinStreams(rate=10)
    kms = network(twins)

    kms.advance(40.0)

    assert len([1 for _, asked in twins.asked if isinstance(asked, NewKeys)]) < 40 * 10
    assert kms.cluster.count(A, "protokms_link_device_errors", kind="unavailable") == 0
    assert stock(kms, B) > 0.9 * 35 * 10 * CHUNK


FAILURES = [
    ("no_answer", "Connection refused"),
    ("timeout", "no answer within 5 s"),
    ("malformed", "it answers 42, which is no status of edition 2"),
    ("tls", "its certificate is refused: certificate has expired"),
    ("unavailable", "it answers 4: there is no QKD connection"),
    ("refused", "it answers 8: there is more metadata than asked for"),
]


@pytest.mark.parametrize(
    ("end", "kind", "text"),
    [*((0, *failure) for failure in FAILURES), *((1, *failure) for failure in FAILURES[:3])],
)
def test_a_device_that_fails_leaves_its_link_quiet_with_the_reason_until_it_is_well(
    end: int, kind: str, text: str
) -> None:
    twins = TwinStreams(rate=20)
    kms = network(twins)
    kms.advance(5.0)
    node, before = (A, B)[end], stock(kms)

    twins.wrong[end] = always(kind, text)
    kms.advance(16.0)
    assert link(kms, node).waits == (f"quiet: {text}",)
    assert alarm(kms, node) == [text]
    assert errors(kms, kind, node) > 0
    assert stock(kms) < before + 2 * twins.rate * CHUNK
    assert both_fetch(kms)  # what was in store before is not lost

    twins.wrong[end] = well
    kms.advance(40.0)
    assert (link(kms, node).waits, alarm(kms, node)) == ((), [])
    assert stock(kms) == stock(kms, B) > before + 10 * twins.rate * CHUNK


def test_a_stream_that_ends_is_closed_and_another_is_opened_at_both_ends() -> None:
    twins = TwinStreams()
    kms = network(twins)
    kms.advance(5.0)
    (first,) = twins.streams
    before = stock(kms)

    twins.forget(0)
    twins.forget(1)
    twins.gone.add(first)
    kms.advance(30.0)

    assert len(twins.streams) == 2
    assert opened(twins, 0) == 2
    assert {end for end, asked in twins.asked if asked == Close(first)} == {0, 1}
    assert stock(kms) == stock(kms, B) > before + 20 * twins.rate * CHUNK
    assert link(kms).waits == link(kms, B).waits == ()


def test_a_stream_without_key_for_long_is_told() -> None:
    twins = TwinStreams(rate=0)
    kms = network(twins)

    kms.advance(30.0)

    assert link(kms).waits == ("quiet: the key stream has no key",)
    assert alarm(kms) == ["the key stream has no key"]


def test_an_other_end_that_does_not_come_to_the_stream_is_told_and_a_new_one_offered() -> None:
    twins = TwinStreams()

    def away(_: Request, __: Answer) -> Answer:
        twins.forget(1)
        raise DeviceError("timeout", "no answer within 5 s")

    twins.wrong[1] = away
    kms = network(twins)

    kms.advance(60.0)

    text = "it answers 3: the peer application is not connected"
    assert link(kms).waits == (f"quiet: {text}",)
    assert link(kms, B).waits == ("quiet: no answer within 5 s",)
    assert 2 <= opened(twins, 0) <= 4
    assert stock(kms) == 0

    twins.wrong[1] = well
    kms.advance(60.0)
    assert stock(kms) == stock(kms, B) > 0
    assert link(kms).waits == link(kms, B).waits == ()


def test_what_the_device_gives_twice_is_used_once() -> None:
    twins = TwinStreams()
    first: list[Chunks] = []

    def again(found: Chunks) -> Chunks:
        first.append(found)
        if len(first) % 2:
            return found
        old = first[0].chunks
        pairs = zip(found.chunks, old, strict=False)
        return Chunks(tuple(replace(new, octets=was.octets) for new, was in pairs))

    twins.wrong[0] = only(NewKeys, again)
    kms = network(twins)

    kms.advance(20.0)

    assert errors(kms, "repeated") > 0
    used = kms.cluster.count(A, "protokms_link_octets", way="sent")
    good = sum(CHUNK * len(found.chunks) for found in first[::2])
    assert used <= good + opened(twins, 0)  # with one octet for each stream that was handed over


def test_a_device_that_begins_every_stream_with_the_same_bits_gives_no_key_and_is_told() -> None:
    twins = TwinStreams()
    kms = network(twins)
    kms.advance(5.0)
    (first,) = twins.streams.values()

    def same(found: Chunks) -> Chunks:
        return Chunks(
            tuple(replace(it, octets=Secret(first.get(it.index, bytes(32)))) for it in found.chunks)
        )

    twins.wrong[0] = only(NewKeys, same)
    before = stock(kms)
    kms.cluster.restart(B)  # another epoch: another stream
    kms.advance(30.0)

    assert link(kms).waits == ("quiet: the device gave a chunk for the second time",)
    assert stock(kms) <= before


def test_two_ends_that_disagree_get_no_key_of_the_batch_and_no_wrong_one() -> None:
    twins = TwinStreams()
    kms = network(twins)
    spoilt = 0

    def spoil(found: Chunks) -> Chunks:
        nonlocal spoilt
        spoilt += 1
        if spoilt % 50:
            return found
        head, *rest = found.chunks
        return Chunks((replace(head, octets=Secret(twins.dice.randbytes(CHUNK))), *rest))

    twins.wrong[1] = only(NamedKeys, spoil)
    kms.advance(30.0)

    assert kms.cluster.count(A, "protokms_batches_decided", decision="discarded") > 0
    assert stock(kms) == stock(kms, B) > 0
    assert both_fetch(kms)


def test_two_streams_that_are_no_pair_give_no_key_and_both_ends_say_why() -> None:
    twins = TwinStreams()
    kms = network(twins)
    kms.advance(5.0)
    before = stock(kms)

    def other(found: Chunks) -> Chunks:
        return Chunks(
            tuple(replace(it, octets=Secret(twins.dice.randbytes(CHUNK))) for it in found.chunks)
        )

    twins.wrong[1] = only(NamedKeys, other)
    kms.advance(30.0)
    for node in (A, B):
        (why,) = link(kms, node, "key_store").waits
        assert "discarded: its two ends get different bits" in why
    assert stock(kms) == stock(kms, B) <= before + twins.rate * CHUNK
    assert both_fetch(kms)  # what was in store before is not lost

    twins.wrong[1] = well
    kms.advance(10.0)
    assert link(kms, A, "key_store").waits == link(kms, B, "key_store").waits == ()
    assert stock(kms) == stock(kms, B) > before


@pytest.mark.parametrize("end", [0, 1])
def test_a_stream_that_was_being_opened_when_its_epoch_ended_is_closed(end: int) -> None:
    twins = TwinStreams()

    def ends(request: Request, answer: Answer) -> Answer:
        if isinstance(request, Open):
            twins.wrong[end] = well
            for at in (f"quantum_link/{B}@{A}", f"quantum_link/{A}@{B}"):
                at_link = kms.cluster.actor(at)
                assert isinstance(at_link, QuantumLink)
                at_link._module.close()
                at_link._module.open(b"another epoch...")
        return answer

    twins.wrong[end] = ends
    kms = network(twins)
    kms.advance(20.0)

    assert len(twins.streams) == 2
    assert len(twins.open[0]) == len(twins.open[1]) == 1
    assert stock(kms) == stock(kms, B) > 10 * twins.rate * CHUNK


def test_a_stream_that_comes_a_second_time_after_its_device_has_started_anew_is_not_used() -> None:
    twins = TwinStreams()
    kms = network(twins)
    kms.advance(5.0)
    (first,) = twins.streams
    before = stock(kms)

    def anew(request: Request, answer: Answer) -> Answer:
        if isinstance(answer, Opened) and isinstance(request, Open) and request.stream is None:
            twins.open[0].discard(answer.stream)
            twins.open[0].add(first)
            twins.streams[first].clear()  # other bits under the same numbers
            return replace(answer, stream=first)
        return answer

    twins.forget(0)
    twins.forget(1)
    twins.wrong[0] = anew
    kms.advance(20.0)
    assert errors(kms, "repeated") > 0
    assert link(kms).waits == ("quiet: the device opened a stream for the second time",)
    assert stock(kms) == stock(kms, B) <= before + twins.rate * CHUNK
    assert both_fetch(kms)

    twins.wrong[0] = well
    kms.advance(60.0)
    assert link(kms).waits == ()
    assert stock(kms) == stock(kms, B) > before + 10 * twins.rate * CHUNK


def test_a_device_whose_index_jumps_to_the_end_each_time_gives_what_it_gives() -> None:
    twins = TwinStreams()

    def last(request: Request, answer: Answer) -> Answer:
        if not isinstance(request, NewKeys) or not isinstance(answer, Chunks) or not answer.chunks:
            return answer
        moved = replace(answer.chunks[0], index=INDEX_MAX)
        twins.streams[request.stream][INDEX_MAX] = moved.octets.reveal()
        return Chunks((moved,))

    twins.wrong[0] = last
    kms = network(twins)
    kms.advance(30.0)

    assert kms.cluster.count(A, "protokms_link_device_keys_lost", reason="not_given") > INDEX_MAX
    assert len(twins.streams) > 10  # a stream has no index after that one
    assert len(twins.open[0] | twins.open[1]) <= 3
    assert kms.cluster.crashes == []
    assert link(kms).waits == ()


def test_an_index_that_jumps_ahead_costs_what_it_leaves_out() -> None:
    twins = TwinStreams()
    kms = network(twins)
    kms.advance(5.0)

    def ahead(request: Request, answer: Answer) -> Answer:
        if not isinstance(request, NewKeys) or not isinstance(answer, Chunks) or not answer.chunks:
            return answer
        twins.wrong[0] = well
        made = twins.streams[request.stream]
        moved = tuple(replace(it, index=it.index + 7) for it in answer.chunks)
        made |= {it.index: it.octets.reveal() for it in moved}
        return Chunks(moved)

    twins.wrong[0] = ahead
    kms.advance(10.0)

    assert kms.cluster.count(A, "protokms_link_device_keys_lost", reason="not_given") >= 7
    assert opened(twins, 0) == 1
    assert stock(kms) == stock(kms, B) > 10 * twins.rate * CHUNK


def test_an_index_that_goes_back_ends_the_stream_and_another_begins() -> None:
    twins = TwinStreams()
    kms = network(twins)
    kms.advance(5.0)
    text = "the index goes back: 9 was asked for, 3 came"
    twins.wrong[0] = always("malformed", text, NewKeys)
    kms.advance(1.0)
    assert link(kms).waits == (f"quiet: {text}",)

    twins.wrong[0] = well
    kms.advance(20.0)

    assert opened(twins, 0) >= 2
    assert stock(kms) == stock(kms, B) > 20 * twins.rate * CHUNK


def test_a_chunk_of_another_index_at_the_end_that_takes_costs_that_one() -> None:
    twins = TwinStreams()
    kms = network(twins)
    kms.advance(5.0)
    wrong: Wrong = always("malformed", "the index jumps: 5 was asked for, 6 came", NamedKeys)

    def once(request: Request, answer: Answer) -> Answer:
        if isinstance(request, NamedKeys):
            twins.wrong[1] = well
        return wrong(request, answer)

    twins.wrong[1] = once
    kms.advance(25.0)

    assert kms.cluster.count(B, "protokms_link_device_keys_lost", reason="not_fetched") == 1
    assert stock(kms) == stock(kms, B) > 20 * twins.rate * CHUNK


def test_a_stream_that_is_in_use_already_is_gone_on_with() -> None:
    twins = TwinStreams()
    kms = network(twins)
    twins.wrong[1] = always("in_use", "it answers 5: the stream id is in use", Open)

    kms.advance(10.0)

    assert stock(kms) == stock(kms, B) > 5 * twins.rate * CHUNK
    assert link(kms, B).waits == ()


def test_an_other_end_that_speaks_of_other_keys_is_told() -> None:
    streams, devices = TwinStreams(("sender", "receiver")), Twins()

    class Mixed:
        """A device of single keys at one end, a key stream at the other."""

        def __call__(self, **_: object) -> "Mixed":
            return self

        sender = staticmethod(devices.sender)
        receiver = staticmethod(streams.receiver)

    kms = KmsNetwork(f"{A}--{B}", pipe=Mixed())
    streams.join(kms.cluster.agenda)
    devices.join(kms.cluster.agenda)

    kms.advance(10.0)

    text = "the other end names keys of no key stream: is it etsi004 too?"
    assert link(kms, B).waits == (f"quiet: {text}",)
    assert stock(kms) == stock(kms, B) == 0


@pytest.mark.parametrize("node", [A, B])
def test_p2_after_a_crash_of_either_end_no_chunk_is_used_twice(node: str) -> None:
    twins = TwinStreams()
    kms = network(twins)
    for _ in range(5):
        kms.advance(7.3)
        kms.cluster.restart(node)
    kms.advance(40.0)

    named = Counter(
        (asked.stream, index)
        for end, asked in twins.asked
        if isinstance(asked, NewKeys) and end == 0
        for index in (asked.first,)
    )
    assert len(twins.streams) >= 6  # each start begins a stream of its own
    assert sum(named.values()) > 0
    assert stock(kms) == stock(kms, B)
    assert both_fetch(kms)


def test_a_slow_device_gives_what_it_can() -> None:
    twins = TwinStreams()
    twins.answer_s = 3.0
    kms = network(twins)

    kms.advance(120.0)

    assert both_fetch(kms)
    assert stock(kms) == stock(kms, B)


def test_the_same_stream_that_was_forgotten_at_one_end_is_opened_there_again() -> None:
    twins = TwinStreams()
    kms = network(twins)
    kms.advance(5.0)

    def forget(request: Request, answer: Answer) -> Answer:
        if not isinstance(request, NamedKeys):
            return answer
        twins.wrong[1] = well
        twins.forget(1)
        raise DeviceError("no_peer", "it answers 3: the peer application is not connected")

    twins.wrong[1] = forget
    kms.advance(25.0)

    assert opened(twins, 1) >= 2
    assert stock(kms) == stock(kms, B) > 20 * twins.rate * CHUNK
