"""Labs with real processes: up, a crash, up again, down."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from protokms.commands.lab import app
from protokms.lab import lab, topology
from protokms.lab import processes as lab_processes
from protokms.lab import run as lab_run
from protokms.lab.lab import LabError

pytestmark = pytest.mark.slow


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "lab"
    lab.init(folder, topology.parse("chain:2"))
    yield folder
    lab_run.down(folder, 5.0)


def pid(folder: Path, node: str) -> int:
    return int((folder / node / "pid").read_text().split()[0])


def test_a_lab_goes_up_survives_a_crash_and_goes_down(made: Path) -> None:
    up = lab_run.up(made)
    assert [(one.ready, one.reasons) for one in up] == [(True, []), (True, [])]
    assert all(bits > 0 for one in up for bits in one.links.values())
    before = pid(made, "kms-1")

    assert lab_run.kill(made, "kms-1")
    assert [one.running for one in lab_run.status(made)] == [False, True]
    assert not lab_run.kill(made, "kms-1")

    again = lab_run.start(made, "kms-1")
    assert (again.ready, again.reasons) == (True, [])
    assert pid(made, "kms-1") != before

    second = pid(made, "kms-1")
    assert lab_run.restart(made, "kms-1").ready
    assert pid(made, "kms-1") != second

    untouched = pid(made, "kms-2")
    assert lab_run.up(made)[1].pids["core"] == untouched  # what runs is left alone

    assert lab_run.down(made) == []
    assert lab_run.down(made) == []
    assert not (made / "kms-1/pid").exists()
    assert not Path(f"/proc/{untouched}").exists()


def test_a_lab_makes_each_store_once_and_does_not_replace_one_that_is_lost(made: Path) -> None:
    assert [node.has_store for node in lab.read(made).nodes] == [False, False]
    assert lab_run.start(made, "kms-1").reasons == []
    assert [node.has_store for node in lab.read(made).nodes] == [True, False]
    assert [one.reasons for one in lab_run.up(made)] == [[], []]
    assert [node.has_store for node in lab.read(made).nodes] == [True, True]
    assert lab_run.down(made) == []

    for file in (made / "kms-1").glob("store.db*"):
        file.unlink()
    state = lab_run.start(made, "kms-1")

    assert "has ended with status 1" in state.reasons[0]
    assert any("there is no file" in line and "--new" in line for line in state.log)
    assert not (made / "kms-1/store.db").exists()
    assert lab_run.start(made, "kms-2").reasons == []  # it has its own


def test_a_node_makes_a_store_when_it_is_asked_to_and_never_beside_another(made: Path) -> None:
    config = str(made / "kms-1/node.toml")
    command = [*lab_processes.protokms(), "node", config]

    missing = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert missing.returncode == 1
    assert b"there is no file" in missing.stdout + missing.stderr
    assert b"--new" in missing.stdout + missing.stderr

    assert lab_run.up(made)[0].reasons == []
    assert lab_run.down(made) == []
    store = (made / "kms-1/store.db").read_bytes()
    twice = subprocess.run([*command, "--new"], capture_output=True, check=False, timeout=60)
    assert twice.returncode == 1
    assert b"is there already" in twice.stdout + twice.stderr
    assert (made / "kms-1/store.db").read_bytes() == store


def test_a_node_whose_neighbour_is_away_is_ready(made: Path) -> None:
    state = lab_run.start(made, "kms-1")

    assert (state.ready, state.reasons) == (True, [])


def test_a_lab_whose_nodes_are_spread_over_processes_goes_up(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    lab.init(folder, topology.spread(topology.parse("chain:2")))
    try:
        up = lab_run.up(folder)
        assert [one.reasons for one in up] == [[], []]
        assert [sorted(one.pids) for one in up] == [["core", "front", "links"]] * 2

        assert lab_run.kill(folder, "kms-2")
        assert lab_run.status(folder)[1].pids == {}
    finally:
        assert lab_run.down(folder) == []


def test_a_lock_around_the_command_is_free_when_it_has_returned(made: Path, tmp_path: Path) -> None:
    lock = str(tmp_path / "lock")
    command = [*lab_processes.protokms(), "lab", "up", str(made)]

    up = subprocess.run(["flock", lock, *command], capture_output=True, check=False, timeout=90)
    free = subprocess.run(["flock", "--nonblock", lock, "true"], check=False, timeout=90)

    assert (up.returncode, free.returncode) == (0, 0), up.stderr
    assert [one.running for one in lab_run.status(made)] == [True, True]


def test_an_occupied_port_is_named(made: Path) -> None:
    port = urlsplit(json.loads((made / "lab.json").read_text())["nodes"][0]["metrics"]).port
    with (
        socket.create_server(("127.0.0.1", port or 0)),
        pytest.raises(LabError, match=rf"kms-1: TCP port {port} .*metrics.bind"),
    ):
        lab_run.up(made)


def test_two_labs_run_side_by_side(made: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    lab.init(other, topology.parse("chain:2"))
    try:
        assert [one.reasons for one in lab_run.up(made)] == [[], []]
        assert [one.reasons for one in lab_run.up(other)] == [[], []]
    finally:
        lab_run.down(other)


def test_a_node_that_does_not_start_is_named_with_its_log_and_the_rest_runs(made: Path) -> None:
    (made / "kms-2/node.key").write_text("rubbish")

    up = lab_run.up(made)

    assert not up[1].running
    assert "has ended with status 78" in up[1].reasons[0]
    assert any("node.key" in line for line in up[1].log)
    assert lab_processes.running(made / "kms-1/pid")


def test_a_node_that_hangs_is_named_when_the_time_is_over(made: Path) -> None:
    assert [one.reasons for one in lab_run.up(made)] == [[], []]
    os.kill(pid(made, "kms-2"), signal.SIGSTOP)

    state = lab_run.start(made, "kms-2", timeout=1.0)

    assert "not ready within 1 s" in state.reasons
    assert lab_run.down(made, 0.5) == ["kms-2"]


def test_on_loopback_a_cut_pauses_the_link_and_says_so(made: Path) -> None:
    lab_run.up(made, 90.0)

    cut = CliRunner().invoke(app, ["cut", str(made), "kms-1", "kms-2"])
    mended = CliRunner().invoke(app, ["mend", str(made), "kms-1", "kms-2"])

    assert (cut.exit_code, mended.exit_code) == (0, 0)
    assert "the network between two nodes on loopback cannot be cut" in cut.stdout
    assert "kms-1 and kms-2: resumed" in mended.stdout
