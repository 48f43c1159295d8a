"""Labs over several hosts: three namespaces, a node over two of them, a partition that heals."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from protokms.client import SaeClient, SaeError
from protokms.commands.lab import app
from protokms.lab import lab, netns, topology
from protokms.lab.lab import LabError
from protokms.lab.wire import Conditions
from tests.processes.real_lab import RealLab, drawn, eventually
from tests.processes.real_netns import kill_all, left_of, need_hosts, network, spread_over_two

pytestmark = pytest.mark.slow

SLOW_WAY = Conditions(delay_s=0.05, loss=0.02)
BACK_S = 10.0
"""Seconds within which keys are handed out again, once a way is mended."""

CORE_DOWN = "503 the core of this KME is not reached now; ask again later"


@pytest.fixture
def spread(tmp_path: Path) -> Iterator[RealLab]:
    """Two nodes on three hosts, 50 ms and 2 % loss between them."""
    need_hosts()
    made = RealLab(tmp_path / "lab", spread_over_two(network()))
    netns.make(made.folder, SLOW_WAY, "tap")
    try:
        made.up()
        yield made
    finally:
        made.down()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[RealLab]:
    """Two nodes, each with a host of its own that `lab netns` has not made yet."""
    need_hosts()
    shape = topology.on_hosts(topology.parse("chain:2"), network()(0) + "/24")
    made = RealLab(tmp_path / "lab", shape)
    try:
        yield made
    finally:
        made.down()


def run(*args: str | Path) -> str:
    said = CliRunner().invoke(app, [str(arg) for arg in args])
    assert not said.exit_code, said.output
    return said.output


def refused(client: SaeClient) -> str:
    """Return how an SAE is refused keys, or nothing."""
    try:
        client.enc_keys("sae-2", 1)
    except SaeError as no:
        return f"{no.status} {no}"
    return ""


@pytest.mark.parametrize("seconds", [3.0, pytest.param(30.0, marks=pytest.mark.soak)])
def test_a_partition_between_hosts_heals(spread: RealLab, seconds: float) -> None:
    folder = spread.folder
    with spread.client("sae-1") as near, spread.client("sae-2") as far:
        before = drawn(near, "sae-2", 24)
        assert far.dec_keys("sae-1", [key.key_id for key in before[:8]]) == before[:8]

        run("cut", folder, "kms-1", "kms-2")
        eventually(lambda: refused(near).startswith("503"), "keys of a peer that is away: 503")
        time.sleep(seconds)  # the partition itself
        assert refused(near).startswith("503")
        stock = far.dec_keys("sae-1", [key.key_id for key in before[8:16]])
        assert stock == before[8:16]

        run("mend", folder, "kms-1", "kms-2")
        begun = time.monotonic()
        eventually(lambda: not refused(near), "keys are handed out again")
        took = time.monotonic() - begun
        after = drawn(near, "sae-2", 8)
        rest = [*before[16:], *after]
        assert far.dec_keys("sae-1", [key.key_id for key in rest]) == rest
    assert took < BACK_S, f"keys came {took:.1f} s after a partition of {seconds:g} s"
    assert len({key.key_id for key in [*before, *after]}) == len(before) + len(after)
    for node in spread.nodes:
        assert "actor_crashed" not in spread.events(node)


def test_a_partition_within_a_node_heals(spread: RealLab) -> None:
    with spread.client("sae-1") as near, spread.client("sae-2") as far:
        before = drawn(near, "sae-2", 4)

        run("cut", spread.folder, "kms-1/core", "kms-1/front")
        eventually(lambda: refused(near) == CORE_DOWN, "the front end says that core is away")
        assert far.dec_keys("sae-1", [key.key_id for key in before]) == before
        run("mend", spread.folder, "kms-1/core", "kms-1/front")

        eventually(lambda: not refused(near), "the front end serves again")
        after = drawn(near, "sae-2", 4)
        assert far.dec_keys("sae-1", [key.key_id for key in after]) == after


def test_down_takes_all_away_after_everything_was_killed(pair: RealLab) -> None:
    run("netns", pair.folder, "--delay", "5ms", "--rate", "100mbit")
    pair.up()
    assert left_of(pair.folder)

    kill_all(pair)
    with pytest.raises(LabError, match="the wire between the hosts has ended"):
        pair.up()
    run("down", pair.folder)

    assert not left_of(pair.folder)
    run("netns", pair.folder)
    pair.up()


def test_hosts_are_made_once_and_for_a_lab_that_does_not_run(pair: RealLab) -> None:
    run("netns", pair.folder)
    twice = CliRunner().invoke(app, ["netns", str(pair.folder)])
    pair.up()
    state = (pair.folder / netns.FILE).read_bytes()
    (pair.folder / netns.FILE).unlink()
    running = CliRunner().invoke(app, ["netns", str(pair.folder)])
    (pair.folder / netns.FILE).write_bytes(state)

    assert (twice.exit_code, running.exit_code) == (1, 1)
    assert "the hosts of" in twice.stderr
    assert "kms-1, kms-2: runs" in running.stderr


def test_a_network_that_this_machine_has_already_is_refused(pair: RealLab, tmp_path: Path) -> None:
    run("netns", pair.folder)
    shape = topology.on_hosts(topology.parse("chain:2"), network()(0) + "/24")
    lab.init(tmp_path / "other", shape)

    with pytest.raises(LabError, match="this machine has a way to"):
        netns.make(tmp_path / "other", Conditions(), "tap")
    assert not left_of(tmp_path / "other")


def test_the_kernel_may_join_hosts_and_says_if_it_has_no_netem(pair: RealLab) -> None:
    said = CliRunner().invoke(app, ["netns", str(pair.folder), "--wire", "netem", "--loss", "1%"])
    if said.exit_code:
        assert "take --wire tap" in said.stderr
        assert not left_of(pair.folder)
        run("netns", pair.folder, "--wire", "netem")

    pair.up()
    with pair.client("sae-1") as near, pair.client("sae-2") as far:
        keys = drawn(near, "sae-2", 4)
        run("cut", pair.folder, "kms-1", "kms-2")
        eventually(lambda: refused(near).startswith("503"), "keys of a peer that is away: 503")
        run("mend", pair.folder, "kms-1", "kms-2")
        eventually(lambda: not refused(near), "keys are handed out again")
        assert far.dec_keys("sae-1", [key.key_id for key in keys]) == keys
    run("down", pair.folder)
    assert not left_of(pair.folder)
