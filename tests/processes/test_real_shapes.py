"""The same actors in other places: as octets in one process, spread over several, in two labs."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from actors.runtime.futures import as_octets
from protokms.client import SaeClient, SaeError
from protokms.config.load import load
from protokms.lab import lab, topology
from protokms.lab import run as lab_run
from protokms.node.node import Node
from tests.processes.real_lab import RealLab, drawn, eventually, exchange, pair
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

    monkeypatch.setattr("actors.runtime.system.as_octets", counted)
    with contextlib.ExitStack() as stack:
        for row in bench.made.nodes:
            config = load(bench.folder / row.config)
            node = Node(config, deaths.append, new=True, through_codec=True)
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
        waiting = drawn(near, "sae-2", 3)

    for process in ("front", "links", "core"):
        victim = spread.process("kms-2", process)
        assert victim.signal(signal.SIGKILL)
        assert victim.wait(30.0)
        if process == "core":
            eventually(lambda: "the core of this KME" in refusal(spread), "the front end says so")
        spread.start()
        spread.await_keys()
        with spread.client("sae-1") as near, spread.client("sae-2") as far:
            key = waiting.pop()
            assert far.dec_keys("sae-1", [key.key_id]) == [key]
            before += exchange(near, far, 4)

    assert len({key.key.reveal() for key in before}) == len(before)
    assert spread.down() == []


def refusal(bench: RealLab) -> str:
    """Return with which words the front end of kms-2 refuses a request; none if it does not."""
    with bench.client("sae-2") as client:
        try:
            client.status("sae-1")
        except SaeError as no:
            return f"{no.status} {no}"
    return ""


def test_every_actor_that_can_be_placed_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    shape = topology.spread(topology.parse("chain:3"))
    nodes = [msgspec.structs.replace(node, processes=each_alone(node)) for node in shape.nodes]
    bench = RealLab(tmp_path / "alone", topology.Topology(nodes=nodes, links=shape.links))
    try:
        bench.up()
        pids = lab_run.processes_of(bench.folder, bench.made.node("kms-2"))
        with bench.client("sae-1") as near, bench.client("sae-3") as far:
            eventually(lambda: has_keys_after_asking(near, "sae-3"), "keys over kms-2")
            sent = drawn(near, "sae-3", 4)
            got = far.dec_keys("sae-1", [key.key_id for key in sent])
    finally:
        stubborn = bench.down()

    assert sorted(pids) == ["core", "etsi014", "quantum_link-kms-1", "quantum_link-kms-3"]
    assert sent == got
    assert stubborn == []


def each_alone(node: topology.NodePlan) -> list[topology.ProcessPlan]:
    return [
        topology.ProcessPlan(name=actor.replace("/", "-"), actors=[actor])
        for process in node.processes
        for actor in process.actors
    ]


def has_keys_after_asking(client: SaeClient, peer: str) -> bool:
    """Whether there are keys with a distant peer; the first request begins the session."""
    with contextlib.suppress(SaeError):
        return bool(client.enc_keys(peer))
    return False


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
    loaded = [load(bench.folder / row.config) for row in bench.made.nodes]
    return [end.port for made in loaded for end, _ in lab.endpoints_of(made)]
