"""Stories of relay over trusted nodes, on real key stores: R4, R13, R14 and the promises."""

import itertools
import logging
from dataclasses import replace

import pytest

from actors.protocol import keys, relay
from actors.protocol.links import Emitted
from protokms.testing.steps import StepSystem
from tests.kit.relayed import Recorder, Relayed
from transport.codec import decode, encode
from transport.envelope import Address, Envelope
from transport.message import Secret

WINDOW = 16
"""Octets of a stretch of key material that is looked for."""


def chain(nodes: str = "abc", **more: object) -> Relayed:
    """A row of nodes, and a session from its one end to the other."""
    links = " ".join(f"{one}-{two}" for one, two in itertools.pairwise(nodes))
    network = Relayed(links, [(nodes[0], nodes[-1])], **more)  # type: ignore[arg-type]
    network.session(nodes)
    return network


class Payloads:
    """Every datagram that a virtual link has emitted at a node, as its store heard of it."""

    def __init__(self, network: Relayed, node: str) -> None:
        self.octets: list[bytes] = []
        self.by_seq: dict[int, bytes] = {}
        system = network.cluster.nodes[node]
        send = system.send

        def noting(envelope: Envelope) -> None:
            body = envelope.body
            if isinstance(body, Emitted) and envelope.sender.name.startswith("virtual_link/"):
                for n, payload in enumerate(body.payloads):
                    self.octets.append(payload.reveal())
                    self.by_seq[body.first + n] = payload.reveal()
            send(envelope)

        system.send = noting  # type: ignore[method-assign]


class Held:
    """Every chunk that a node ever held in clear, from the words its actors say to each other."""

    def __init__(self, network: Relayed, node: str) -> None:
        self.shares: dict[relay.ChunkId, bytes] = {}
        self.secrets: list[bytes] = []
        system = network.cluster.nodes[node]
        send = system.send

        def noting(envelope: Envelope) -> None:
            body = envelope.body
            if isinstance(body, relay.Pass):
                self.shares[body.chunk] = body.payload.reveal()
            for name in getattr(body, "__slots__", ()):
                value = getattr(body, name)
                if isinstance(value, Secret):
                    self.secrets.append(value.reveal())
            send(envelope)

        system.send = noting  # type: ignore[method-assign]


# P1: equal keys at both ends


@pytest.mark.parametrize("nodes", ["abc", "abcd", "abcdef"])
def test_both_ends_of_a_chain_get_the_same_keys(nodes: str) -> None:
    network = chain(nodes)
    near, far = nodes[0], nodes[-1]

    network.cluster.advance(3.0)

    made = [network.agree(near, far), network.agree(far, near)]
    assert len(set(made)) == 2
    assert network.alarms() == 0
    assert network.broken == []


def test_a_distant_pair_costs_what_a_neighbour_costs_once_there_is_stock() -> None:
    network = chain()
    network.cluster.advance(3.0)
    frames = []

    for pair in ("ab", "ac"):
        before = network.cluster.net.carried
        network.agree(*pair)
        frames.append(network.cluster.net.carried - before)

    assert frames[1] <= frames[0] + 3  # a lease, a batch or a transfer may fall in between


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_p1_a_bad_wire_loses_doubles_and_reorders_and_keys_are_equal(seed: int) -> None:
    network = chain("abcd", seed=seed, shuffle=True)
    for one, other in ("ab", "bc", "cd", "ad"):
        network.cluster.worsen(
            one, other, loss=0.05, duplicate=0.2, reorder=0.2, delay=0.005, jitter=0.01
        )

    network.cluster.advance(15.0)

    for one, other in ("ad", "da"):
        made = network.enc(one, other, 4)
        if isinstance(made, keys.Keys):
            for _ in range(9):
                got = network.dec(other, one, made, 4)
                if isinstance(got, bytes):
                    assert got == made.octets.reveal()
                    break
                network.cluster.advance(1.0)
            else:
                pytest.fail("the key never came")
    assert network.stock("a", "d") > 20_000
    assert network.alarms() == 0


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("node", ["a", "b", "c"])
def test_p1_p2_a_node_dies_at_any_commit_and_keys_are_equal(node: str, before: bool) -> None:
    for n in range(1, 25, 2):
        network = chain(tolerant=True, seed=n)
        network.cluster.advance(1.0)
        network.cluster.crash_at_commit(node, n, before=before)
        network.cluster.advance(5.0)
        network.cluster.restart(node)
        network.cluster.advance(4.0)

        assert network.agree("a", "c") != network.agree("c", "a")
        assert network.alarms() == 0, n


@pytest.mark.slow
@pytest.mark.parametrize(
    "at",
    [
        "virtual_link/c@a",
        "relay/b@a",
        "key_store/b@a",
        "relay/a@b",
        "relay/c@b",
        "key_store/a@b",
        "key_store/c@b",
        "relay/b@c",
        "virtual_link/a@c",
        "key_store/a@c",
        "key_store/c@a",
    ],
)
def test_p1_p2_any_actor_dies_again_and_again_and_keys_are_equal(at: str) -> None:
    network = chain(tolerant=True)
    for _ in range(6):
        network.cluster.advance(0.37)
        network.cluster.crash_actor(at)
    network.cluster.advance(12.0)

    assert network.agree("a", "c") != network.agree("c", "a")
    assert network.alarms() == 0


@pytest.mark.slow
def test_p2_no_pad_seals_two_frames_whatever_is_lost() -> None:
    network = chain(tolerant=True, shuffle=True)
    for pair in ("ab", "bc"):
        network.cluster.worsen(*pair, loss=0.2, duplicate=0.2, delay=0.01)
    for at in ("relay/c@b", "relay/b@a", "relay/a@b", "key_store/c@b"):
        network.cluster.advance(1.5)
        network.cluster.crash_actor(at)
    network.cluster.advance(3.0)

    used: dict[tuple[object, ...], set[tuple[int, int, bytes]]] = {}
    for sender, to, octets in network.wire:
        word = decode(octets, sender).body
        if isinstance(word, relay.Carry):
            for piece in word.pieces:
                where = (frozenset((sender, to)), word.head.number, piece.holder, piece.batch)
                end = piece.offset + piece.length
                used.setdefault(where, set()).add((piece.offset, end, octets))
    assert len({octets for frames in used.values() for _, _, octets in frames}) > 5
    for frames in used.values():
        ranges = sorted(frames)
        assert all(one[1] <= two[0] for one, two in itertools.pairwise(ranges))


# P6, P7: nothing in clear


def stretches(octets: bytes) -> set[bytes]:
    return {octets[n : n + WINDOW] for n in range(0, len(octets) - WINDOW + 1, WINDOW)}


def found_in(haystack: bytes, wanted: set[bytes]) -> bool:
    """Whether any of these stretches lies anywhere in there."""
    starts = {stretch[:4] for stretch in wanted}
    return any(
        haystack[n : n + 4] in starts and haystack[n : n + WINDOW] in wanted
        for n in range(len(haystack) - WINDOW + 1)
    )


def test_p7_what_is_relayed_is_in_no_frame_no_log_line_and_on_no_disk_between(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    network = chain()
    payloads = Payloads(network, "a")
    network.cluster.advance(1.2)
    key = network.agree("a", "c")
    assert isinstance(network.enc("b", "c"), keys.Keys)

    seen = set().union(*map(stretches, payloads.octets))
    wanted = seen | stretches(key)
    assert len(seen) > 500

    frames = b"".join(octets for _, _, octets in network.wire)
    logs = caplog.text + capsys.readouterr().out
    disk = b"".join(network.disks["b"].ever)
    assert len(network.said(relay.Carry)) > 5
    assert not found_in(frames, wanted)
    assert not found_in(disk, wanted)
    assert not any(part in logs for part in (key.hex(), key[:16].hex(), repr(key)[2:20]))
    # The same search finds what is there: the store of the far end has these bits on its disk.
    assert found_in(b"".join(network.disks["c"].ever), seen)


def test_p7_an_intermediate_node_keeps_nothing_once_it_has_passed_on() -> None:
    network = chain()
    payloads = Payloads(network, "a")
    network.cluster.advance(1.2)
    network.cluster.settle()

    b = network.cluster.nodes["b"]
    for neighbour in "ac":
        hop = network.relay("b", neighbour)
        for queue in hop.queues.by_share.values():
            assert not queue.queued
            assert not queue.admitted
            assert not queue.awaiting_pad
        assert all(not share.opening for share in hop.incoming.shares.values())
    assert payloads.octets
    assert isinstance(b, StepSystem)


def test_no_answer_holds_a_secret() -> None:
    for kind in (relay.Passed, relay.Carried, relay.NotCarried):
        assert "Secret" not in str(kind.__annotations__)


def test_r4_any_flipped_octet_of_a_chunk_is_found_out() -> None:
    network = chain()
    network.cluster.advance(1.0)
    network.lost, before = {relay.Carry}, len(network.said(relay.Carry, "a", "b"))
    network.cluster.advance(2.0)
    word = network.said(relay.Carry, "a", "b")[before]
    held = Held(network, "b")

    for at in (0, len(word.sealed) // 2, len(word.sealed) - 1):
        sealed = bytearray(word.sealed)
        sealed[at] ^= 0x10
        spoilt = replace(word, sealed=bytes(sealed))
        octets = encode(Envelope(Address("relay/b", "a"), Address("relay/a", "b"), spoilt))
        network.cluster.nodes["b"].arrive("a", octets)
        network.cluster.settle()

    assert word.chunk not in held.shares
    assert network.cluster.count("b", "protokms_relay_refused", reason="bad_tag") == 3
    assert network.cluster.count("b", "protokms_alarms", kind="bad_tag") == 1
    network.lost = set()
    network.cluster.advance(3.0)
    assert word.chunk not in held.shares  # those bits are burnt
    assert network.agree("a", "c")


# R14: several paths


def diamond(**more: object) -> Relayed:
    """From `a` to `d` over `b`, over `c` and over `e`."""
    links = "a-b b-d a-c c-d a-e d-e"
    return Relayed(links, [("a", "d")], **more)  # type: ignore[arg-type]


def xor(one: bytes, other: bytes) -> bytes:
    size = min(len(one), len(other))
    mixed = int.from_bytes(one[:size], "big") ^ int.from_bytes(other[:size], "big")
    return mixed.to_bytes(size, "big")


@pytest.mark.slow
def test_r14_two_paths_give_the_same_keys_at_both_ends() -> None:
    network = diamond()
    network.session("abd", "acd")

    network.cluster.advance(3.0)

    assert network.agree("a", "d") != network.agree("d", "a")
    assert network.alarms() == 0


@pytest.mark.slow
def test_r14_with_all_that_one_node_ever_held_over_a_reroute_too_no_key_can_be_computed() -> None:
    network = diamond(rates=dict.fromkeys(("a-b", "b-d", "a-c", "c-d", "a-e", "d-e"), 2e6))
    payloads, b, c = Payloads(network, "a"), Held(network, "b"), Held(network, "c")
    first = network.session("abd", "acd")
    network.cluster.advance(0.6)
    network.close(first)
    network.session("aed", "abd")  # `b` now has the other share
    network.cluster.advance(1.0)
    key = network.agree("a", "d")

    whole = payloads.by_seq
    shares = {chunk.seq: payload for chunk, payload in b.shares.items()}
    assert len(shares) == len(b.shares) > 5  # never two shares of one datagram
    assert {chunk.share for chunk in b.shares} == {0, 1}
    held = [*b.shares.values(), *(secret for secret in b.secrets if len(secret) > WINDOW)]
    ends = {octets[:WINDOW] for octets in whole.values()} | {key[:WINDOW]}
    tries = [one[:WINDOW] for one in held]
    tries += [xor(one[:WINDOW], two[:WINDOW]) for one, two in itertools.combinations(held, 2)]
    assert not ends & set(tries)
    inside = b"".join(whole.values())
    assert not any(found_in(inside, {one[:WINDOW]}) for one in b.shares.values())
    # The two nodes together know everything: the test would see it.
    both = [seq for seq in shares if any(chunk.seq == seq for chunk in c.shares)]
    theirs = {chunk.seq: payload for chunk, payload in c.shares.items()}
    assert both
    assert all(xor(shares[seq], theirs[seq]) == whole[seq] for seq in both)


@pytest.mark.slow
def test_r14_what_went_over_the_old_paths_and_was_undecided_never_counts() -> None:
    network = diamond()
    payloads = Payloads(network, "a")
    network.cluster.cut("a", "d")  # no BlocksHeld reaches the origin
    first = network.session("abd", "acd")
    network.cluster.advance(2.0)
    old = set(payloads.octets)
    assert old
    network.close(first)
    network.cluster.mend("a", "d")
    network.session("aed", "abd")
    network.cluster.advance(4.0)

    store = network.store("d", "a")
    kept = b"".join(bytes(segment.octets) for segment in store.stream.segments.values())
    assert len(kept) > 10_000
    assert not any(octets[64:128] in kept for octets in old)


@pytest.mark.slow
def test_r14_one_path_that_is_cut_stops_the_session_and_nothing_is_sent_in_one_share() -> None:
    network = diamond()
    network.session("abd", "acd")
    network.cluster.advance(1.0)
    network.cluster.cut("a", "c")
    network.cluster.advance(12.0)

    before = network.stock("d", "a")
    network.cluster.advance(3.0)

    assert network.stock("d", "a") <= before
    codes = {(node, news.code) for node, news in network.broken}
    assert ("a", "peer_down") in codes


# R13: shares, floors, no dead lock


def filled(network: Relayed, here: str, there: str, seconds: float) -> float:
    """Octets that virtual links have brought to a node within so much time."""

    def count() -> float:
        return network.cluster.count(here, "protokms_virtual_octets", peer=there, way="received")

    before = count()
    network.cluster.advance(seconds)
    return count() - before


@pytest.mark.slow
def test_r13_a_dry_hop_slows_its_session_and_holds_no_other() -> None:
    ends = [("a", "c"), ("a", "d")]
    network = Relayed("a-b b-c b-d", ends, rates={"b-c": 32e3, "a-b": 2e6})
    network.session("abc")
    network.session("abd")
    network.cluster.advance(10.0)

    slow, quick = (
        network.cluster.count(node, "protokms_virtual_octets", way="received") for node in "cd"
    )

    assert slow > 1000
    assert quick > 5 * slow
    assert not any(news.code == "no_progress" for _, news in network.broken)


@pytest.mark.slow
def test_r13_a_link_is_shared_by_origins_then_by_weights_and_saes_here_have_a_floor() -> None:
    ends = [("a", "c"), ("a", "e"), ("d", "c")]
    rates = {"a-b": 2e6, "b-d": 2e6, "b-c": 400e3, "c-e": 2e6}
    network = Relayed("a-b b-c b-d c-e", ends, rates=rates)
    network.session("abc", weight=1)
    network.session("abce", weight=3)
    network.session("dbc", weight=3)
    network.cluster.advance(6.0)

    def came(there: str, origin: str) -> float:
        return network.cluster.count(there, "protokms_virtual_octets", peer=origin, way="received")

    pairs = [("c", "a"), ("e", "a"), ("c", "d")]
    before = {pair: came(*pair) for pair in pairs}
    network.cluster.advance(20.0)

    light, heavy, other = (came(*pair) - before[pair] for pair in pairs)
    assert 2.0 < heavy / light < 4.5
    assert 0.8 < (light + heavy) / other < 1.25
    network.enc("b", "c", 1)  # the floor is kept while SAEs ask
    network.cluster.advance(1.0)
    assert isinstance(network.enc("b", "c", 16), keys.Keys)


@pytest.mark.slow
def test_r13_every_queue_of_a_relay_stays_within_its_bound_when_nothing_is_acknowledged() -> None:
    network = chain(rates={"a-b": 2e6, "b-c": 8e3})

    for _ in range(30):
        network.cluster.advance(0.5)
        for node, neighbour in ("ab", "ba", "bc", "cb"):
            for queue in network.relay(node, neighbour).queues.by_share.values():
                assert len(queue.queued) <= 6
                assert len(queue.admitted) <= 8
                assert len(queue.awaiting_pad) + len(queue.in_flight) <= 4


def test_the_recorder_sees_rows() -> None:
    network = chain()
    network.cluster.advance(1.0)

    assert isinstance(network.disks["b"], Recorder)
    assert sum(map(len, network.disks["b"].ever)) > 10_000
