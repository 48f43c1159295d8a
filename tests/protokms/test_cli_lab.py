"""`protokms lab` as people type it: exit codes, JSON, examples."""

import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner, Result

from protokms import cli_lab, ports

COMMANDS = ["init", "up", "status", "down", "kill", "start", "export"]


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(cli_lab.app, [str(arg) for arg in args])


@pytest.fixture
def made(tmp_path: Path) -> Path:
    assert run("init", tmp_path / "lab").exit_code == 0
    return tmp_path / "lab"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    said = run(command, "--help")

    assert said.exit_code == 0
    assert "Example: `protokms lab" in said.output


def test_init_prints_lab_json(tmp_path: Path) -> None:
    said = run("init", tmp_path / "lab", "--topology", "star:3", "--spread", "--json")

    assert json.loads(said.stdout) == json.loads((tmp_path / "lab/lab.json").read_text())


@pytest.mark.parametrize("args", [("init",), ("kill", "x"), ("up", "x", "--timeout", "no"), ("x",)])
def test_misuse_is_2(args: tuple[str, ...]) -> None:
    assert run(*args).exit_code == 2


@pytest.mark.parametrize(
    "args", [("up",), ("status",), ("down",), ("kill", "kms-1"), ("start", "a"), ("export", "a")]
)
def test_where_no_lab_is_the_exit_status_is_1(tmp_path: Path, args: tuple[str, ...]) -> None:
    said = run(args[0], tmp_path, *args[1:])

    assert said.exit_code == 1
    assert "holds no lab" in said.stderr


def test_a_topology_that_is_none_is_told(tmp_path: Path) -> None:
    said = run("init", tmp_path / "lab", "--topology", "ring:1")

    assert said.exit_code == 1
    assert "ring" in said.stderr


def test_nothing_runs_in_a_new_lab(made: Path) -> None:
    said = run("status", made, "--json")

    assert said.exit_code == 0
    assert "kms-1: process core does not run" in said.stderr
    nodes = json.loads(said.stdout)["nodes"]
    assert [(node["name"], node["running"], node["ready"]) for node in nodes] == [
        ("kms-1", False, False),
        ("kms-2", False, False),
    ]


def test_down_is_harmless_when_nothing_runs_and_kill_says_so(made: Path) -> None:
    assert json.loads(run("down", made, "--json").stdout) == {"killed": []}
    assert run("kill", made, "kms-1").exit_code == 1
    assert run("kill", made, "kms-7").exit_code == 1


def test_an_occupied_port_is_named_and_nothing_is_started(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = urlsplit(json.loads((made / "lab.json").read_text())["nodes"][1]["etsi014"]).port
    monkeypatch.setattr(ports, "occupied", lambda end, _kind: end.port == taken)

    said = run("up", made)

    assert said.exit_code == 1
    assert f"kms-2: TCP port {taken}" in said.stderr
    assert "etsi014.bind" in said.stderr
    assert not (made / "kms-1/pid").exists()


def test_a_wrong_configuration_is_told_before_anything_is_started(made: Path) -> None:
    (made / "kms-2/node.toml").write_text("[node]\n")

    said = run("up", made)

    assert said.exit_code == 1
    assert "node.name: is missing" in said.stderr
    assert not (made / "kms-1/pid").exists()


def test_export_says_what_it_made(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tar"
    said = run("export", made, "kms-1", "--out", out, "--json")

    assert json.loads(said.stdout) == {"node": "kms-1", "file": str(out)}
    assert run("export", made, "kms-1", "--out", out).exit_code == 1
