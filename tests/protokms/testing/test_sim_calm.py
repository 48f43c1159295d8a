"""What a network shows that nobody asks: an honest one is calm, one with a broken line is not."""

from typing import Any

import pytest

from actors.network.originate import Originate
from actors.network.peer_manager import PeerManager
from actors.protocol import keys
from actors.sessions.origin import Origin
from actors.sessions.sessions import SessionManager
from protokms.testing.kms import KmsNetwork
from protokms.testing.sim.checker.promise import BrokenPromise
from protokms.testing.sim.run.calm import Calm
from tests.mutations.rewritten import rewritten

pytestmark = pytest.mark.slow

SAY_OWN = "self._refreshing.say_own({peer: keys for peer, keys in named.items() if keys})"
OLD = "if self._neighbours.public and now - self._originated_at >= self._options.refresh_s:"
LANES = 'meter.set("protokms_lanes", len(self.hops))'


def network() -> KmsNetwork:
    """Three nodes in a row, with a session from end to end, whose links are full and still."""
    kms = KmsNetwork("a-b b-c", store={"max_bits": 1 << 21})
    kms.advance(3.0)
    assert isinstance(kms.enc("sae-1", "sae-3"), keys.Keys)
    kms.advance(20.0)
    return kms


def look(kms: KmsNetwork) -> None:
    cluster = kms.cluster
    Calm(cluster, lambda end: cluster.advance(end - cluster.now)).look()


def test_an_honest_network_is_calm() -> None:
    look(network())


@pytest.mark.parametrize(
    ("owner", "name", "line", "by", "why"),
    [
        (Origin, "refresh", SAY_OWN, "pass", "LIVE.*b keeps 0"),
        (Originate, "if_old", OLD, "if True:", "LIVE.*frames"),
        (SessionManager, "tick", LANES, LANES.replace("len(self.hops)", "7"), "LIVE.*b keeps 7"),
    ],
)
def test_a_network_is_not_calm(
    owner: Any, name: str, line: str, by: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, rewritten(owner, name, line, by))
    kms = network()

    with pytest.raises(BrokenPromise, match=why):
        look(kms)


def without_b(kms: KmsNetwork) -> None:
    kms.cluster.crash("b")
    kms.advance(5.0)
    Calm(kms.cluster, lambda end: kms.advance(end - kms.cluster.now)).without("b")


def test_a_dead_node_is_told_as_dead() -> None:
    without_b(network())


def test_a_dead_node_is_told_as_if_it_lived(monkeypatch: pytest.MonkeyPatch) -> None:
    kms, line = network(), "self._of(news.peer).up = False"
    monkeypatch.setattr(PeerManager, "peer_down", rewritten(PeerManager, "peer_down", line, "pass"))

    with pytest.raises(BrokenPromise, match=r"P9.*b is up"):
        without_b(kms)
