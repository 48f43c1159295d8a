"""The emulated module: pace, draws, adversity, the pipe in memory; options."""

import itertools
from collections import Counter
from typing import Any

import pytest

from actors.modules.adversity import Adversity, Impairments
from actors.modules.datagram import Channel
from actors.modules.emulated import Blocks, Emulated, Emulation, Pace
from actors.modules.memory import Pipe
from actors.modules.module import Arrived, Bits, Host, Module
from actors.modules.udp import Options, UdpWire, split
from protokms.testing.cluster import Cluster
from transport.envelope import Address
from transport.message import Secret

EPOCH, NEXT = bytes(16), b"\1" + bytes(15)
SECRET = Secret(b"s" * 32)


class Bench:
    """Two modules joined by a pipe, moved by hand."""

    def __init__(self, pipe: Pipe) -> None:
        self.cluster = Cluster("a-b")
        self.links = {name: self.cluster.probe(f"quantum_link/x@{name}") for name in "ab"}
        self.a, self.b = pipe.sender(), pipe.receiver()
        self.a.start(self.host("a", "b"))
        self.b.start(self.host("b", "a"))

    def host(self, node: str, peer: str) -> Host:
        return Host(self.cluster.nodes[node], Address("quantum_link/x", node), peer)

    def open(self, epoch: bytes = EPOCH) -> None:
        self.a.open(epoch)
        self.b.open(epoch)

    def emit(self, seconds: float = 0.01, octets: int = 1 << 20) -> list[Bits]:
        self.cluster.advance(seconds)
        given = list(self.a.tick(octets))
        for bits in given:
            self.a.release(bits)
        self.cluster.settle()
        return given

    def taken(self) -> list[Bits]:
        self.cluster.settle()
        groups = self.links["b"].of(Arrived)
        self.links["b"].clear()
        return [bits for group in groups for bits in self.b.take(group.datagrams)]

    def dropped(self, reason: str) -> float:
        return self.cluster.count("b", "protokms_link_dropped", reason=reason)


def content(groups: list[Bits]) -> dict[int, bytes]:
    pairs = [
        (seq, secret.reveal())
        for bits in groups
        for seq, secret in zip(bits.seqs, bits.payloads, strict=True)
    ]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_both_ends_give_the_same_octets_under_the_same_seqs() -> None:
    bench = Bench(Pipe(rate_bit_s=8e6))
    bench.open()

    given, taken = bench.emit(), bench.taken()

    assert content(given) == content(taken)
    assert len(content(given)) > 10


def test_lengths_are_uniform_from_zero_and_an_empty_round_takes_no_seq() -> None:
    bench = Bench(Pipe(round_s=0.001, max_bytes=3))
    bench.open()

    given = list(itertools.chain.from_iterable(bench.emit(0.04) for _ in range(100)))

    lengths = Counter(map(len, content(given).values()))
    assert set(lengths) == {1, 2, 3}
    assert sum(lengths.values()) == pytest.approx(3000, abs=150)
    assert all(n == pytest.approx(1000, abs=150) for n in lengths.values())
    seqs = [seq for bits in given for seq in bits.seqs]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))


def test_no_more_is_given_than_there_is_credit_for() -> None:
    bench = Bench(Pipe(rate_bit_s=1e9))
    bench.open()

    given = bench.emit(0.01, octets=1500)

    assert sum(bits.octets for bits in given) == 1500


def test_a_busy_module_gives_groups_of_bounded_size() -> None:
    bench = Bench(Pipe(rate_bit_s=1e9))
    bench.open()

    given = bench.emit(0.05)

    assert 2 <= len(given) <= 5
    assert all(bits.octets < 65_536 + 999 for bits in given)


def test_what_was_missed_long_ago_is_not_caught_up() -> None:
    emulation = Emulation(role="sender", secret=SECRET, round_s=0.001)
    pace = Pace(emulation, 100.0)

    assert [pace.owed(now) for now in (100.0, 100.0105, 100.0105, 160.0, 160.001)] == [
        0,
        10,
        0,
        50,
        1,
    ]


def test_a_slow_pace_gives_one_round_at_a_time() -> None:
    emulation = Emulation(role="sender", secret=SECRET, round_s=2.0)
    pace = Pace(emulation, 0.0)

    assert [pace.owed(now) for now in (1.9, 2.0, 3.9, 4.0, 100.0)] == [0, 1, 0, 1, 1]


def test_blocks_come_all_at_once_and_nothing_in_between() -> None:
    bench = Bench(Pipe(block_octets=125_000, block_s=600.0))
    bench.open()
    sizes = [sum(bits.octets for bits in bench.emit(60.0)) for _ in range(31)]

    assert [octets for octets in sizes if octets] == [125_000] * 3
    assert len(content(bench.taken())) == 3 * -(-125_000 // 999)


def test_what_a_link_could_not_take_of_a_block_is_gone_with_the_next() -> None:
    blocks = Blocks(lambda _: 1_000, 1_000, 10.0, 0.0)
    owed = []
    for now in (9.9, 10.0, 19.9, 20.0, 95.0, 99.9):
        owed.append(blocks.owed(now))
        blocks.gave(min(400, owed[-1]))

    assert owed == [0, 1_000, 600, 1_000, 1_000, 600]


def test_a_large_block_takes_some_seconds() -> None:
    blocks = Blocks(lambda _: 1 << 20, 1 << 20, 60.0, 0.0)

    assert blocks.owed(60.0) == 256 << 10


def test_datagrams_of_an_older_epoch_of_strangers_and_before_the_opening_are_dropped() -> None:
    bench = Bench(Pipe(rate_bit_s=8e6))
    bench.a.open(EPOCH)
    early = len(content(bench.emit()))
    assert bench.taken() == []
    bench.b.open(EPOCH)
    old = len(content(bench.emit()))
    bench.open(NEXT)
    stranger = Channel(Secret(b"t" * 32), NEXT, "a", "b").seal(1, b"octets")

    taken = bench.taken()
    strange = bench.b.take((Secret(stranger), Secret(b"noise")))

    assert taken == list(strange) == []
    assert [bench.dropped(why) for why in ("closed", "old_epoch", "stranger", "malformed")] == [
        early,
        old,
        1,
        1,
    ]


def test_an_epoch_opened_again_goes_on_at_other_seqs_and_takes_no_repeat() -> None:
    bench = Bench(Pipe(rate_bit_s=8e6))
    bench.open()
    first = content(bench.emit())
    arrived = bench.links["b"].of(Arrived)[0].datagrams
    assert content(bench.taken()) == first
    bench.a.close()
    bench.b.close()

    bench.open()
    bench.b.take(arrived)
    second = content(bench.emit())

    assert content(bench.taken()) == second
    assert not set(first) & set(second)
    assert bench.dropped("duplicate") == len(arrived)


def test_loss_duplicates_reordering_and_corruption_leave_only_equal_octets_each_once() -> None:
    ill = Adversity(loss=0.2, duplication=0.1, reordering=0.3, corruption=0.1, seed=7)
    bench = Bench(Pipe(rate_bit_s=8e6, adversity=ill))
    bench.open()

    given = content([bits for _ in range(20) for bits in bench.emit()])
    taken = content(bench.taken())

    assert taken.items() <= given.items()
    assert 0.6 * len(given) < len(taken) < 0.85 * len(given)
    assert bench.dropped("duplicate") > 10
    assert bench.dropped("corrupt") > 10
    for what in ("loss", "duplication", "reordering", "corruption"):
        assert bench.cluster.count("a", "protokms_link_adversity", what=what) > 10


def test_reordered_datagrams_are_given_in_order_within_a_group() -> None:
    bench = Bench(Pipe(rate_bit_s=8e6, adversity=Adversity(reordering=0.5)))
    bench.open()
    bench.emit()

    (bits,) = bench.taken()

    assert list(bits.seqs) == sorted(bits.seqs)


def test_an_outage_begins_and_ends() -> None:
    impairments = Impairments(Adversity(outages=((10.0, 5.0),)), now=100.0)

    left = [impairments.apply([b"x"], now) for now in (109.9, 110.0, 114.9, 115.0)]

    assert left == [[b"x"], [], [], [b"x"]]
    assert impairments.counts == {"outage": 2}


def test_the_same_seed_brings_the_same_ill_luck() -> None:
    ill = Adversity(loss=0.3, duplication=0.3, reordering=0.3, corruption=0.3, seed=3)
    datagrams = [bytes([n]) * 40 for n in range(200)]

    one, same = (Impairments(ill, 0.0).apply(datagrams, 0.0) for _ in range(2))

    assert one == same != datagrams


def test_a_pipe_with_nobody_at_the_far_end_loses_what_is_sent() -> None:
    bench = Bench(Pipe(rate_bit_s=8e6))
    bench.open()
    bench.b.stop()

    bench.emit()

    assert bench.taken() == []


def test_a_delayed_pipe_delivers_when_the_clock_says_so() -> None:
    bench = Bench(Pipe(rate_bit_s=8e6, delay_s=0.5))
    bench.open()
    given = bench.emit()

    at_once = bench.taken()
    bench.cluster.advance(0.5)

    assert at_once == []
    assert content(bench.taken()) == content(given)


def test_no_secret_shows_in_what_modules_pass_around() -> None:
    bench = Bench(Pipe(rate_bit_s=8e6))
    bench.open()
    (given,) = bench.emit()
    (arrived,) = bench.links["b"].of(Arrived)

    shown = repr((given, arrived, Emulation(role="sender", secret=SECRET)))

    assert "octets>" in shown
    for octets in (given.payloads[0].reveal(), arrived.datagrams[0].reveal(), SECRET.reveal()):
        assert repr(octets)[2:-1] not in shown


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"role": "both"}, "sender or receiver"),
        ({"secret": Secret(b"short")}, "at least 32"),
        ({"max_bytes": 0}, "max_bytes"),
        ({"max_bytes": 64_001}, "max_bytes"),
        ({"round_s": 0.1, "rate_bit_s": 1e6}, "not both"),
        ({"rate_bit_s": 0.0}, "more than 0"),
        ({"block_octets": 1000}, "go together"),
        ({"block_s": 10.0}, "go together"),
        ({"block_octets": 1000, "block_s": 10.0, "round_s": 1.0}, "one of these"),
        ({"block_octets": 0, "block_s": 10.0}, "block_octets is 1 to"),
        ({"rate_bit_s": float("nan")}, "more than 0"),
        ({"round_s": float("nan")}, "not within"),
        ({"round_s": 0.0}, "not within"),
        ({"rate_bit_s": 1e12}, "not within"),
    ],
)
def test_an_emulation_that_makes_no_sense_is_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        options(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"loss": 1.1}, {"corruption": -0.1}, {"outages": ((1.0, -1.0),)}]
)
def test_adversity_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"probability|outage"):
        Adversity(**wrong)


def options(**changes: Any) -> Options:
    default: dict[str, Any] = {
        "role": "sender",
        "secret": SECRET,
        "peer": "kms-2",
        "bind": "127.0.0.1:20001",
        "remote": "127.0.0.1:20002",
    }
    return Options(**default | changes)


@pytest.mark.parametrize(
    "where", ["0.0.0.0:1", "192.0.2.1:1", "kms-2:1", "[::]:1", "[2001:db8::1]:1"]
)
@pytest.mark.parametrize("name", ["bind", "remote"])
def test_bits_in_clear_leave_the_host_only_if_the_operator_says_so(name: str, where: str) -> None:
    with pytest.raises(ValueError, match="allow_insecure_emulation"):
        options(**{name: where})

    assert options(**{name: where}, allow_insecure_emulation=True).allow_insecure_emulation


@pytest.mark.parametrize("where", ["127.0.0.1:1", "127.9.9.9:65535", "localhost:1", "[::1]:1"])
def test_loopback_is_loopback(where: str) -> None:
    assert options(bind=where, remote=where).bind == where


@pytest.mark.parametrize("where", ["", ":1", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "::1"])
def test_an_address_is_host_and_port(where: str) -> None:
    with pytest.raises(ValueError, match=r"host:port|loopback"):
        options(bind=where)


def test_an_address_of_ip_v6_loses_its_brackets() -> None:
    assert split("[::1]:20001") == ("::1", 20001)


def test_modules_are_harmless_to_stop_before_they_start() -> None:
    modules: list[Module] = [Emulated(options(), UdpWire(options())), Pipe().receiver()]

    for module in modules:
        module.stop()
        module.stop()
