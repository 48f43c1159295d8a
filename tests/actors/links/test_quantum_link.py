"""The quantum link between its module and its store."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from actors.links.quantum_link import QuantumLink, Tick
from actors.modules.adversity import Adversity
from actors.modules.memory import Pipe
from actors.modules.module import Arrived, Bits, Broken, Host, Module, ModuleNotReady, Role
from actors.protocol import links
from actors.protocol.common import Drain, Drained, Health, Healthy
from protokms.testing.cluster import ActorCrashed, Cluster
from protokms.testing.probe import Probe
from protokms.testing.steps import StepSystem
from transport.envelope import Envelope
from transport.message import Message, Secret

EPOCH, NEXT = bytes(16), b"\1" + bytes(15)
PLENTY = 1 << 30


class Line:
    """Two nodes, a pipe, and probes in the places of both key stores."""

    def __init__(self, *, seed: int = 0, tolerant: bool = False, **pipe: Any) -> None:
        self.cluster = Cluster("a-b", seed=seed, tolerant=tolerant)
        self.pipe = Pipe(**{"rate_bit_s": 8e5} | pipe)
        self.near = self.cluster.probe("key_store/b@a")
        self.far = self.cluster.probe("key_store/a@b")
        self.start_near()
        self.start_far()

    def start_near(self) -> None:
        self.cluster.spawn("quantum_link/b@a", QuantumLink, "b", self.pipe.sender)

    def start_far(self) -> None:
        self.cluster.spawn("quantum_link/a@b", QuantumLink, "a", self.pipe.receiver)

    def open(self, epoch: bytes = EPOCH, credit: int = PLENTY) -> None:
        opened = links.LinkOpened(epoch=epoch, credit=credit)
        self.near.say("quantum_link/b@a", opened)
        self.far.say("quantum_link/a@b", opened)
        self.cluster.settle()

    def emitted(self, epoch: bytes = EPOCH) -> dict[int, bytes]:
        return content(
            (range(word.first, word.first + len(word.payloads)), word.payloads)
            for word in self.near.of(links.Emitted)
            if word.epoch == epoch
        )

    def received(self, epoch: bytes = EPOCH) -> dict[int, bytes]:
        words = self.far.of(links.Received)
        assert all(list(word.seqs) == sorted(word.seqs) for word in words)
        return content((word.seqs, word.payloads) for word in words if word.epoch == epoch)


def content(groups: Iterable[tuple[Iterable[int], tuple[Secret, ...]]]) -> dict[int, bytes]:
    pairs = [
        (seq, secret.reveal())
        for seqs, payloads in groups
        for seq, secret in zip(seqs, payloads, strict=True)
    ]
    assert len(dict(pairs)) == len(pairs), "a seq came twice"
    return dict(pairs)


def size(octets: dict[int, bytes]) -> int:
    return sum(map(len, octets.values()))


def test_a_link_asks_every_second_until_its_store_answers() -> None:
    line = Line()

    line.cluster.advance(3.5)
    line.near.say("quantum_link/b@a", links.LinkClosed())
    line.cluster.advance(2.0)

    assert len(line.near.of(links.AskLink)) == 5  # the one already under way was not recalled
    line.cluster.advance(7.0)
    assert len(line.near.of(links.AskLink)) == 5


def test_a_link_that_stays_closed_or_without_credit_asks_again_now_and_then() -> None:
    line = Line()
    line.near.say("quantum_link/b@a", links.LinkClosed())
    line.far.say("quantum_link/a@b", links.LinkOpened(epoch=EPOCH, credit=0))
    line.cluster.advance(2.0)
    line.near.clear()
    line.far.clear()

    line.cluster.advance(10.0)
    line.near.say("quantum_link/b@a", links.LinkOpened(epoch=EPOCH, credit=0))
    line.cluster.advance(10.0)

    assert len(line.near.of(links.AskLink)) == 2
    assert line.far.of(links.AskLink) == []  # a receiver needs no credit


def test_nothing_is_sent_before_the_store_opens_the_link() -> None:
    line = Line()

    line.cluster.advance(1.0)

    assert line.near.of(links.Emitted) == []


def test_both_stores_hear_the_same_octets_at_the_rate_asked_for() -> None:
    line = Line(rate_bit_s=8e5)
    line.open()

    line.cluster.advance(5.0)

    assert line.received() == line.emitted()
    assert size(line.emitted()) == pytest.approx(5 * 8e5 / 8, rel=0.1)


def test_the_store_hears_of_octets_before_they_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line()
    line.open()
    order: list[type[Message]] = []
    send = StepSystem.send

    def spy(system: StepSystem, envelope: Envelope) -> None:
        order.append(type(envelope.body))
        send(system, envelope)

    monkeypatch.setattr(StepSystem, "send", spy)
    line.cluster.advance(0.1)

    told = [at for at, kind in enumerate(order) if kind is links.Emitted]
    left = [at for at, kind in enumerate(order) if kind is Arrived]
    assert len(told) == len(left) > 5
    assert all(before < after for before, after in zip(told, left, strict=True))


def test_the_link_pauses_without_credit_and_goes_on_with_it() -> None:
    line = Line()
    line.open(credit=5000)

    line.cluster.advance(5.0)
    spent = size(line.emitted())
    line.near.say("quantum_link/b@a", links.Credit(epoch=NEXT, octets=7000))
    line.cluster.advance(1.0)
    other_epoch = size(line.emitted())
    line.near.say("quantum_link/b@a", links.Credit(epoch=EPOCH, octets=700))
    line.cluster.advance(1.0)

    assert (spent, other_epoch, size(line.emitted())) == (5000, 5000, 5700)


def test_credit_that_is_taken_back_stops_the_link() -> None:
    line = Line()
    line.open()
    line.near.say("quantum_link/b@a", links.Credit(epoch=EPOCH, octets=-1))

    line.cluster.advance(1.0)

    assert line.emitted() == {}


def test_a_paused_link_sets_no_ticks() -> None:
    cluster, device, store = with_device("sender", tick_s=0.01)
    store.say("quantum_link/b@a", links.LinkOpened(epoch=EPOCH, credit=0))

    cluster.advance(1.0)

    assert device.calls == ["open"]


def test_a_link_ticks_once_an_interval_whatever_it_is_told() -> None:
    cluster, device, store = with_device("sender", tick_s=0.01)
    opened = links.LinkOpened(epoch=EPOCH, credit=PLENTY)
    for word in (opened, links.LinkClosed(), opened, links.Credit(epoch=EPOCH, octets=9), opened):
        store.say("quantum_link/b@a", word)
    store.say("quantum_link/b@a", Tick(turn=3))

    cluster.advance(1.0)

    assert device.calls.count("tick") == pytest.approx(100, abs=2)


def test_a_closed_link_neither_sends_nor_takes() -> None:
    line = Line(delay_s=0.1)
    line.open()
    line.cluster.advance(1.0)

    line.near.say("quantum_link/b@a", links.LinkClosed())
    line.far.say("quantum_link/a@b", links.LinkClosed())
    line.cluster.settle()
    sent, came = line.emitted(), line.received()
    line.cluster.advance(1.0)

    assert line.emitted() == sent
    assert line.received() == came
    assert line.cluster.count("b", "protokms_link_dropped", reason="closed") > 0


def test_the_same_epoch_announced_again_only_renews_the_credit() -> None:
    line = Line()
    line.open(credit=1000)
    line.cluster.advance(1.0)
    line.open(credit=1000)

    line.cluster.advance(1.0)

    seqs = sorted(line.emitted())
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert size(line.received()) == 2000


def test_a_new_epoch_leaves_the_datagrams_of_the_old_one_behind() -> None:
    line = Line(delay_s=0.2)
    line.open()
    line.cluster.advance(1.0)

    line.open(NEXT)
    line.cluster.advance(1.0)

    assert 0 < len(line.received(EPOCH)) < len(line.emitted(EPOCH))
    assert 0 < len(line.received(NEXT)) < len(line.emitted(NEXT))
    assert line.cluster.count("b", "protokms_link_dropped", reason="old_epoch") > 0


def test_only_the_own_store_opens_feeds_and_closes_a_link() -> None:
    line = Line()
    other = line.cluster.probe("key_store/c@a")
    other.say("quantum_link/b@a", links.LinkOpened(epoch=EPOCH, credit=PLENTY))
    line.cluster.advance(1.0)
    before = line.emitted()
    line.open(credit=1000)
    other.say("quantum_link/b@a", links.Credit(epoch=EPOCH, octets=PLENTY))
    other.say("quantum_link/b@a", links.LinkClosed())

    line.cluster.advance(5.0)

    assert before == {}
    assert size(line.emitted()) == 1000
    assert line.cluster.count("a", "protokms_link_refused", reason="not_the_store") == 3


def test_only_the_own_module_delivers() -> None:
    line = Line()
    line.open()
    stale = Arrived(life=0, datagrams=(Secret(b"x"),))
    line.far.say("quantum_link/a@b", stale)
    line.far.say("quantum_link/a@b", Broken(life=0, why="a thread of an earlier life"))

    line.cluster.settle()

    assert line.cluster.count("b", "protokms_link_dropped") == 0


def test_a_fresh_link_after_a_crash_repeats_no_seq_of_the_epoch() -> None:
    line = Line(tolerant=True)
    line.open()
    line.cluster.advance(1.0)
    crash(line, "quantum_link/b@a")
    before = line.emitted()

    line.start_near()
    line.open()
    line.cluster.advance(1.0)

    assert line.received() == line.emitted()  # content() notices a seq that came twice
    assert len(line.emitted()) > 1.5 * len(before)


def test_a_fresh_receiver_takes_over_the_line() -> None:
    line = Line(tolerant=True)
    line.open()
    line.cluster.advance(1.0)
    crash(line, "quantum_link/a@b")
    line.cluster.advance(0.5)

    line.start_far()
    line.open()
    line.cluster.advance(1.0)

    assert line.received().items() < line.emitted().items()
    assert len(line.received()) > 0.7 * len(line.emitted())


def test_a_node_that_restarts_is_heard_again_in_a_new_epoch() -> None:
    line = Line()
    line.open()
    line.cluster.advance(1.0)
    line.cluster.restart("a", reboot=True)
    line.start_near()
    line.open(NEXT)

    line.cluster.advance(1.0)

    assert line.received(NEXT) == line.emitted(NEXT) != {}


@pytest.mark.parametrize("seed", range(3))
def test_a_bad_line_delivers_equal_octets_each_once(seed: int) -> None:
    ill = Adversity(loss=0.2, duplication=0.05, reordering=0.2, corruption=0.05, seed=seed)
    line = Line(seed=seed, adversity=ill)
    line.open()

    line.cluster.advance(5.0)

    assert line.received().items() < line.emitted().items()
    assert size(line.received()) > 0.65 * size(line.emitted())


def test_a_drained_link_ends_for_good() -> None:
    line = Line()
    line.open()

    answer = line.cluster.ask("quantum_link/b@a", Drain())
    line.near.clear()
    line.open()
    line.cluster.advance(3.0)

    assert answer == Drained()
    assert line.near.received == []


def test_health_says_whether_the_link_is_open() -> None:
    line = Line()
    closed = line.cluster.ask("quantum_link/b@a", Health())
    line.open(credit=0)

    opened = line.cluster.ask("quantum_link/b@a", Health())

    assert isinstance(closed, Healthy)
    assert closed.ready
    assert closed.waits == ("closed: the key stores have not resumed",)
    facts = (("role", "sender"), ("credit_octets", "0"))
    assert opened == Healthy(ready=True, reasons=(), facts=facts)


def crash(line: Line, at: str) -> None:
    link = line.cluster.actor(at)
    assert isinstance(link, QuantumLink)
    link._host.broken("as a thread would")
    line.cluster.settle()
    assert line.cluster.crashes


class Device:
    """A pair of real QKD modules in 30 lines: the device numbers its blocks itself.

    It draws nothing and sends nothing: both ends get the same blocks from the hardware, here
    from `push`. It is what docs/modules.md shows.
    """

    def __init__(self, role: Role, tick_s: float | None = None) -> None:
        self.role: Role = role
        self.tick_s = tick_s
        self.calls: list[str] = []
        self.ready = True

    def start(self, host: Host) -> None:
        self.host = host

    def push(self, number: int, octets: bytes) -> None:
        self.host.arrived([number.to_bytes(8, "big") + octets])

    def open(self, epoch: bytes) -> None:
        if not self.ready:
            raise ModuleNotReady("no light")
        self.calls.append("open")

    def tick(self, octets: int) -> Iterable[Bits]:
        self.calls.append("tick")
        return ()

    def release(self, bits: Bits) -> None:
        self.calls.append("release")

    def take(self, datagrams: tuple[Secret, ...]) -> Iterable[Bits]:
        for block in datagrams:
            octets = block.reveal()
            yield Bits((int.from_bytes(octets[:8], "big"),), (Secret(octets[8:]),))

    def close(self) -> None:
        self.calls.append("close")

    def stop(self) -> None:
        self.calls.append("stop")


def with_device(role: Role, tick_s: float | None = None) -> tuple[Cluster, Device, Probe]:
    cluster = Cluster("a", tolerant=True)
    device = Device(role, tick_s)
    make: Callable[[], Module] = lambda: device  # noqa: E731 -- mypy checks it against Module
    cluster.spawn("quantum_link/b@a", QuantumLink, "b", make)
    store = cluster.probe("key_store/b@a")
    return cluster, device, store


def test_another_kind_of_module_is_one_class_at_the_senders_end() -> None:
    cluster, device, store = with_device("sender")
    store.say("quantum_link/b@a", links.LinkOpened(epoch=EPOCH, credit=6))
    cluster.settle()

    device.push(7, b"octets")
    device.push(8, b"too much")
    cluster.settle()

    emitted = links.Emitted(epoch=EPOCH, first=7, payloads=(Secret(b"octets"),))
    assert store.received == [emitted]
    assert cluster.count("a", "protokms_link_dropped", reason="no_credit") == 1


def test_another_kind_of_module_is_one_class_at_the_receivers_end() -> None:
    cluster, device, store = with_device("receiver")
    device.push(6, b"early")
    store.say("quantum_link/b@a", links.LinkOpened(epoch=EPOCH, credit=0))
    cluster.settle()

    device.push(7, b"octets")
    cluster.settle()

    assert store.received == [links.Received(epoch=EPOCH, seqs=(7,), payloads=(Secret(b"octets"),))]


def test_a_module_that_is_not_ready_is_tried_again_when_the_store_answers_again() -> None:
    cluster, device, store = with_device("receiver")
    device.ready = False
    store.on(links.AskLink, links.LinkOpened(epoch=EPOCH, credit=0))
    cluster.advance(1.5)
    before = device.calls[:]
    device.ready = True

    cluster.advance(1.0)

    assert before == []
    assert device.calls == ["open"]


def test_a_broken_module_crashes_its_link_which_lets_go_of_it() -> None:
    cluster, device, _ = with_device("receiver")

    device.host.broken("fibre unplugged")
    cluster.settle()

    assert [str(crash.why) for crash in cluster.crashes] == ["fibre unplugged"]
    assert device.calls == ["stop"]


def test_a_link_that_is_stopped_lets_go_of_its_module() -> None:
    cluster, device, _ = with_device("receiver")

    cluster.nodes["a"].stop("quantum_link/b")
    cluster.settle()

    assert device.calls == ["stop"]


def test_an_intolerant_cluster_hears_of_the_crash() -> None:
    line = Line()

    with pytest.raises(ActorCrashed):
        crash(line, "quantum_link/b@a")
