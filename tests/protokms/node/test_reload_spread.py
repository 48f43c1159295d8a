"""A node of three processes is reloaded as a whole, and its alarms are listed and cleared."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner

from protokms.client import SaeClient, SaeError
from protokms.commands.main import app
from protokms.commands.node import run
from protokms.lab import demo, lab, topology
from tests.doors.forge import Forge, serial
from tests.kit.in_process import Start, eventually, processes

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_log() -> Iterator[None]:
    """Keep the nodes of this process from writing where commands do."""
    before = structlog.get_config()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.configure(**before)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    lab.init(tmp_path / "lab", topology.spread(topology.parse("chain:2")))
    return tmp_path / "lab"


@pytest.fixture
def file(home: Path) -> Path:
    return home / "kms-1/node.toml"


@pytest.fixture
def start(file: Path) -> Iterator[Start]:
    with processes(file) as begin:
        yield begin


def write(file: Path, line: str, table: str) -> None:
    """Write a line at the beginning of a table, in place of what had its key."""
    key = line.partition(" = ")[0] + " = "
    head, mark, rest = file.read_text().partition(f"[{table}]\n")
    kept = [old for old in rest.splitlines(keepends=True) if not old.startswith(key)]
    file.write_text(f"{head}{mark}{line}\n{''.join(kept)}")


def reload(file: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    """Type `protokms node reload FILE --json`."""
    capsys.readouterr()
    status = run(["reload", str(file), "--json"])
    return status, json.loads(capsys.readouterr().out)


def alarms(file: Path) -> set[tuple[str, str]]:
    """Type `protokms alarm list --json`."""
    found = CliRunner().invoke(app, ["alarm", "list", "--config", str(file), "--json"])
    assert found.exit_code == 0
    rows = json.loads(found.stdout)["alarms"]
    return {(row["id"], row["subject"]) for row in rows}


def client(home: Path) -> SaeClient:
    made = lab.read(home)
    return demo.client(home, made, next(one for one in made.saes if one.id == "sae-1"))


def most_keys(home: Path) -> int:
    """Ask for the status as sae-1 does; 0 if it is not answered."""
    with client(home) as near:
        try:
            return int(near.status("sae-2")["max_key_per_request"])
        except SaeError:
            return 0


def test_all_processes_take_part_in_a_reload_and_the_missing_one_is_named(
    home: Path, file: Path, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    core, front, apart = start("core"), start("front"), file.with_name("front.toml")
    start("links")
    eventually(lambda: most_keys(home) == 128)
    eventually(lambda: core.meter.value("protokms_peer_up", peer="kms-1/links") == 1)

    write(apart, "max_keys_per_request = 64", "etsi014")
    write(file, "ttl_s = 60", "store")
    status, found = reload(file, capsys)

    assert status == 0
    applied, restart = ["front: etsi014.max_keys_per_request"], ["store.ttl_s"]
    told = {"applied": applied, "needs_restart": restart, "refused": [], "not_reached": []}
    assert found == told
    assert most_keys(home) == 64

    Forge(home, home / "ca").revoke([serial(home / "saes/sae-1.crt")], file.parent / "ca.crl")
    write(apart, 'crl = "ca.crl"', "etsi014")
    status, found = reload(file, capsys)

    assert (status, found["applied"]) == (0, ["front: etsi014.crl"])
    assert most_keys(home) == 0

    text = apart.read_text()
    write(apart, 'deny = ["sae-1", ""]', "etsi014")
    status, found = reload(file, capsys)

    assert (status, found["applied"]) == (1, ["front: etsi014.deny"])
    assert found["refused"][0].startswith(f"front: {apart}: etsi014.deny[1]: ")
    eventually(lambda: ("reload_refused", "front") in alarms(file))
    assert ("reload_refused", "core") not in alarms(file)
    apart.write_text(text)
    status, found = reload(file, capsys)

    assert (status, found["refused"], found["not_reached"]) == (0, [], [])
    eventually(lambda: ("reload_refused", "front") not in alarms(file))

    assert run(["status", str(file), "--json"]) == 0
    rows = {row["process"]: row for row in json.loads(capsys.readouterr().out)["processes"]}
    assert set(rows) == {"core", "front", "links"}
    assert "etsi014" in rows["front"]["actors"]

    front.stop()
    eventually(lambda: ("process_down", "front") in alarms(file))
    status, found = reload(file, capsys)

    assert (status, found["not_reached"]) == (1, ["front"])
    assert ("reload_refused", "core") in alarms(file)

    assert run(["status", str(file)]) == 1
    assert "front: not reached" in capsys.readouterr().out

    start("front")
    eventually(lambda: not alarms(file) & {("process_down", "front")})
    status, _ = reload(file, capsys)

    assert status == 0
    assert not alarms(file) & {("process_down", "front"), ("reload_refused", "core")}


def test_a_node_that_does_not_run_is_told(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reload", str(file)]) == 1
    assert "does the node run?" in capsys.readouterr().err

    status, found = reload(file, capsys)

    assert (status, found["failed"]["code"]) == (1, "not_running")
