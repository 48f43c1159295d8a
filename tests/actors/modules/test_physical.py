"""The physical module: blocks as a fibre gives them, drift, and an eavesdropper."""

from typing import Any

import pytest

from actors.links.quantum_link import QuantumLink
from actors.modules.glass import Glass
from actors.modules.memory import Pipe
from actors.modules.module import Bits, Host, Measured
from actors.modules.physical import Physical
from actors.protocol import alarms, links
from actors.protocol.common import Health, Healthy
from protokms.testing.cluster import Cluster
from transport.envelope import Address

EPOCH = bytes(16)
GLASS = Glass(fibre_km=50, block_gates=1e9)
BLOCK = 311_570 // 8
"""Octets that a block of this fibre gives."""


class Bench:
    """The sender's end of a fibre, moved by hand."""

    def __init__(self, made: Physical) -> None:
        self.cluster = Cluster("a-b")
        self.link = self.cluster.probe("quantum_link/b@a")
        self.module = Pipe(glass=made).sender()
        self.module.start(Host(self.cluster.nodes["a"], Address("quantum_link/b", "a"), "b"))
        self.module.open(EPOCH)

    def give(self, seconds: float, octets: int = 1 << 24) -> int:
        """Let time pass, in steps as the link takes them; return the octets that came."""
        given: list[Bits] = []
        assert self.module.tick_s
        for _ in range(round(seconds / self.module.tick_s)):
            self.cluster.advance(self.module.tick_s)
            given += self.module.tick(octets)
        return sum(bits.octets for bits in given)

    def told(self) -> list[tuple[float, str]]:
        """Return what the link was told since: QBER and why there is no key."""
        self.cluster.settle()
        found = [(round(news.qber or 0.0, 4), news.quiet) for news in self.link.of(Measured)]
        self.link.clear()
        return found


def test_each_block_brings_what_the_fibre_gives_and_its_qber() -> None:
    bench = Bench(Physical(glass=GLASS, gates_hz=1e8))

    assert bench.give(9) == 0
    assert bench.give(10) == BLOCK
    assert bench.give(20) == 2 * BLOCK
    assert bench.told() == [(0.01, "")] * 3


def test_a_short_fibre_has_given_its_block_before_the_next_one_comes() -> None:
    near = Physical(glass=Glass(fibre_km=1, block_gates=1e10), gates_hz=1e9)
    bench = Bench(near)

    assert bench.give(19.9) == 84_473_270 // 8
    assert bench.module.tick_s is not None
    assert bench.module.tick_s < 0.2


def test_too_long_a_fibre_gives_nothing_and_says_why() -> None:
    bench = Bench(Physical(glass=Glass(fibre_km=100, block_gates=1e9), gates_hz=1e9))

    assert bench.give(1.5) == 0
    ((_, why),) = bench.told()
    assert why == "a block of 1e+09 pulses over 20.0 dB with QBER 1.0% gives no key"


def test_an_eavesdropper_raises_the_qber_until_there_is_no_key() -> None:
    # Half of the photons measured and sent on: an eighth of them arrives wrong beside the 1 %.
    heard = Physical(glass=GLASS, gates_hz=1e9, eavesdropping=((10.0, 5.0, 0.5), (11.0, 1.0, 0.1)))
    bench = Bench(heard)

    before = bench.give(9.5)
    assert before == 9 * BLOCK
    assert {why for _, why in bench.told()} == {""}
    assert bench.give(5.0) == 0
    assert set(bench.told()) == {(0.135, "QBER 13.5% is over 8.0%: no key from this block")}
    assert bench.give(2.0) == 2 * BLOCK
    assert bench.told() == [(0.01, "")] * 2


def test_drift_comes_and_goes() -> None:
    drifting = Physical(glass=GLASS, gates_hz=1e9, drift=0.02, drift_s=40.0)
    bench = Bench(drifting)

    bench.give(40.5)
    qbers = [qber for qber, _ in bench.told()]
    assert max(qbers) == qbers[19] == 0.03
    assert min(qbers) == qbers[39] == 0.01


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"gates_hz": 0.0}, "gates_hz is 1 to"),
        ({"gates_hz": 1e10}, "a block every 0.1 s: not within"),
        ({"qber_max": 0.0}, "qber_max is more than 0"),
        ({"drift": 0.6}, "drift is 0 to 0.5"),
        ({"drift_s": 0.0}, "drift_s is 1 to"),
        ({"eavesdropping": ((0.0, 1.0, 1.5),)}, "a share, 0 to 1"),
        ({"eavesdropping": ((-1.0, 1.0, 0.5),)}, "in seconds"),
        ({"glass": Glass(fibre_km=1, block_gates=1e11)}, "fewer block_gates"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Physical(**{"glass": GLASS, **options})


def test_a_receiver_of_a_fibre_sets_no_pace() -> None:
    assert Pipe(glass=Physical(glass=GLASS)).receiver().tick_s is None


# The link


class Link:
    """A quantum link over a fibre, with probes for its store, for alarms, and for whoever asks."""

    def __init__(self, made: Physical) -> None:
        self.cluster = Cluster("a-b")
        self.store = self.cluster.probe("key_store/b@a")
        self.alarms = self.cluster.probe("alarms@a")
        self.asker = self.cluster.probe("asker@a")
        self.cluster.spawn("quantum_link/b@a", QuantumLink, "b", Pipe(glass=made).sender)
        opened = links.LinkOpened(epoch=EPOCH, credit=1 << 24)
        self.store.say("quantum_link/b@a", opened)
        self.cluster.settle()

    def health(self) -> Healthy:
        self.asker.clear()
        self.asker.question("quantum_link/b@a", Health())
        self.cluster.settle()
        (answer,) = self.asker.of(Healthy)
        return answer

    def raised(self) -> list[tuple[str, bool]]:
        """Return the ids of the alarms raised (true) and ended (false) since."""
        found = [
            (news.id, isinstance(news, alarms.Raised))
            for news in self.alarms.received
            if isinstance(news, alarms.Raised | alarms.Ended)
        ]
        self.alarms.clear()
        return found


def test_a_link_that_is_quiet_says_so_until_it_gives_key_again() -> None:
    link = Link(Physical(glass=GLASS, gates_hz=1e9, eavesdropping=((2.5, 3.0, 1.0),)))
    assert dict(link.health().facts).get("qber") is None

    link.cluster.advance(2.0)
    assert dict(link.health().facts)["qber"] == "0.0100"
    link.raised()
    link.cluster.advance(2.0)
    why = "QBER 26.0% is over 8.0%: no key from this block"
    assert link.health().waits == (f"quiet: {why}",)
    assert ("link_quiet", True) in link.raised()
    link.cluster.advance(3.0)
    assert link.health().waits == ()
    assert link.raised() == [("link_quiet", True), ("link_quiet", False)]


def test_at_each_opening_operators_hear_anew_whether_a_link_is_quiet() -> None:
    # Who keeps alarms may be new, or have heard of a former life of this link.
    link = Link(Physical(glass=GLASS, gates_hz=1e9, eavesdropping=((0.5, 2.0, 1.0),)))
    assert ("link_quiet", False) in link.raised()

    link.cluster.advance(2.0)
    link.raised()
    link.store.say("quantum_link/b@a", links.LinkClosed())
    link.store.say("quantum_link/b@a", links.LinkOpened(epoch=bytes(15) + b"x", credit=1))
    link.cluster.settle()

    assert ("link_quiet", True) in link.raised()
