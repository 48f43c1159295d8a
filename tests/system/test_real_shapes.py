"""The same actors in other places: as octets in one process, spread over several, in two labs."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from actors.edge import as_octets
from protokms import config, lab, topology
from protokms.node import Node
from protokms.sae import SaeClient, SaeError
from tests.system.real_lab import RealLab, exchange, pair
from transport.envelope import Envelope

pytestmark = pytest.mark.slow


@pytest.fixture
def spread(tmp_path: Path) -> Iterator[RealLab]:
    made = RealLab(tmp_path / "spread", topology.spread(pair(rate_bit_s=2e6)))
    made.up()
    made.await_keys()
    yield made
    made.down()


@pytest.mark.parametrize("mode", ["confirmed", "local"])
def test_nodes_whose_every_message_becomes_octets_deliver_equal_keys(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = RealLab(tmp_path / "lab", pair(rate_bit_s=2e6))
    bench.configure("store", mode=mode)
    deaths: list[str] = []
    words: set[str] = set()

    def counted(put: Callable[[Envelope], None], envelope: Envelope) -> None:
        words.add(envelope.body.word)
        as_octets(put, envelope)

    monkeypatch.setattr("actors.system.as_octets", counted)
    with contextlib.ExitStack() as stack:
        for row in bench.made.nodes:
            node = Node(config.load(bench.folder / row.config), deaths.append, through_sockets=True)
            node.start()
            stack.callback(node.stop)
        bench.await_keys()
        near, far = stack.enter_context(bench.client("sae-1")), bench.client("sae-2")
        with far:
            got = [key for _ in range(10) for key in exchange(near, far, 16)]
        conflicts = [bench.metric(node, "protokms_conflicts_total") for node in bench.nodes]
        assert all(bench.ready(node) for node in bench.nodes)

    assert len({key.key.reveal() for key in got}) == 160
    assert (deaths, conflicts) == ([], [0.0, 0.0])
    assert any("GetKey" in word for word in words), words


def test_a_spread_node_delivers_equal_keys_and_survives_the_loss_of_any_process(
    spread: RealLab,
) -> None:
    with spread.client("sae-1") as near, spread.client("sae-2") as far:
        before = exchange(near, far, 16)
        waiting = near.enc_keys("sae-2", 3)

    for process in ("front", "links", "core"):
        victim = spread.process("kms-2", process)
        assert victim.signal(signal.SIGKILL)
        assert victim.wait(30.0)
        spread.start()
        spread.await_keys()
        with spread.client("sae-1") as near, spread.client("sae-2") as far:
            key = waiting.pop()
            assert far.dec_keys("sae-1", [key.key_id]) == [key]
            before += exchange(near, far, 4)

    assert len({key.key.reveal() for key in before}) == len(before)
    assert spread.down() == []


def test_two_labs_side_by_side_know_nothing_of_each_other(tmp_path: Path) -> None:
    labs = [RealLab(tmp_path / name, pair(rate_bit_s=1e6)) for name in ("one", "other")]
    try:
        for bench in labs:
            bench.up()
        keys = []
        for bench in labs:
            bench.await_keys()
            with bench.client("sae-1") as near, bench.client("sae-2") as far:
                keys += exchange(near, far, 16)
        stranger = foreign(labs[0], labs[1], "sae-1")
        with stranger, pytest.raises(SaeError) as no:
            stranger.status("sae-2")
    finally:
        for bench in labs:
            bench.down()

    assert no.value.status == 0  # it ends in the TLS handshake
    assert len({key.key.reveal() for key in keys}) == 32
    assert not set(ports(labs[0])) & set(ports(labs[1]))


def foreign(home: RealLab, away: RealLab, sae: str) -> SaeClient:
    """A client with the certificate of one lab, at a node of another (whose CA it trusts)."""
    row = next(row for row in home.made.saes if row.id == sae)
    url = away.made.nodes[0].etsi014
    own = home.folder / row.cert, home.folder / row.key
    return SaeClient(url, away.folder / away.made.ca, *own)


def ports(bench: RealLab) -> list[int]:
    loaded = [config.load(bench.folder / row.config) for row in bench.made.nodes]
    return [end.port for made in loaded for end, _ in lab.endpoints_of(made)]
