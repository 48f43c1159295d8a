"""The command line: exit codes, help with examples, and what a node does not load."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import typer
from typer.testing import CliRunner

from actors.base import Row
from actors.store import StoreFile
from protokms import cli_node, commands, demo, lab, topology
from protokms.demo import DemoFailed, DemoResult, DemoRow
from protokms.keyfiles import read_key
from transport.message import Secret

ROW = DemoRow("6e1b", "sae-1 sae-2", 256, "0011223344556677", equal=True)
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def own_logs() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture
def a_lab(tmp_path: Path) -> Path:
    lab.init(tmp_path / "lab", topology.parse("chain:2"))
    return tmp_path / "lab"


def run(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(commands.app, args)
    return result.exit_code, result.stdout, result.stderr


def all_commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from all_commands(command, (*path, name))
        else:
            yield *path, name


EVERY = list(all_commands(typer.main.get_command(commands.app)))


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_every_command_has_help_with_an_example(path: tuple[str, ...]) -> None:
    status, out, _ = run(*path, "--help")

    assert status == 0
    assert "Example" in out
    assert f"protokms {' '.join(path)}" in out.replace("\n", " ")


def test_the_commands_of_the_first_release_are_there() -> None:
    assert {("demo",), ("node",), ("lab", "up"), ("sae", "enc"), ("keys", "rotate")} <= set(EVERY)


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("nonsense",),
        ("demo", "--nodes", "1"),
        ("sae", "enc"),
        ("store", "reset", "kms-2"),
    ],
)
def test_misuse_exits_with_2(args: tuple[str, ...]) -> None:
    assert run(*args)[0] == 2


def test_the_demo_prints_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "run_demo", lambda *_, **__: DemoResult((ROW,), 0.5))

    status, out, _ = run("demo", "--json")

    assert status == 0
    assert json.loads(out)["keys"][0]["key_ID"] == "6e1b"


def test_a_different_key_is_seen_in_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    row = DemoRow("6e1b", "sae-1 sae-2", 256, "00", equal=False)
    monkeypatch.setattr(demo, "run_demo", lambda *_, **__: DemoResult((ROW, row), 0.5))

    status, out, _ = run("demo")

    assert status == 1
    assert "DIFFERENT" in out


def test_a_demo_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: int, **__: str) -> DemoResult:
        raise DemoFailed("no port is free")

    monkeypatch.setattr(demo, "run_demo", fail)

    status, _, err = run("demo")

    assert status == 1
    assert "no port is free" in err


def test_an_sae_that_cannot_connect_exits_with_1(a_lab: Path) -> None:
    made = lab.read(a_lab)
    sae, url = made.saes[0], made.nodes[0].etsi014
    files = ("--ca", f"{a_lab / made.ca}", "--cert", f"{a_lab / sae.cert}")
    key = ("--key", f"{a_lab / sae.key}")

    status, _, err = run("sae", "status", "--url", url, *files, *key, "--peer", "x")
    missing = run("sae", "status", "--url", "https://x", *files, "--key", "none", "--peer", "x")

    assert status == 1
    assert "no answer" in err
    assert missing[0] == 1


def test_the_check_of_a_good_configuration_is_well(
    a_lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli_node.run([str(a_lab / "kms-1/node.toml"), "--check"]) == 0
    assert capsys.readouterr().out == "kms-1 is well\n"


def test_the_check_of_a_bad_one_tells_every_problem(
    a_lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = a_lab / "kms-1/node.toml"
    config.write_text(config.read_text().replace("max_bits", "max_bitz"))
    (a_lab / "kms-1/node.key").unlink()

    status = cli_node.run([str(config), "--check"])
    started = cli_node.run([str(config)])

    err = capsys.readouterr().err
    assert (status, started) == (1, 1)
    assert "max_bitz" in err
    assert "node.key" in err


def test_the_check_tells_of_the_store_beside_other_problems_in_json_too(
    a_lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = a_lab / "kms-1/node.toml"
    (a_lab / "kms-1/tls.key").unlink()
    store = a_lab / "kms-1/store.db"
    store.write_bytes(b"nonsense")
    store.chmod(0o600)

    status = cli_node.run([str(config), "--check", "--json"])

    found = json.loads(capsys.readouterr().out)
    assert status == 1
    assert found["well"] is False
    assert [row["key"] for row in found["problems"]] == ["etsi014.key", "node.data"]
    assert all(row["file"] and row["reason"] and row["remedy"] for row in found["problems"])


def test_the_check_of_a_good_configuration_is_well_in_json_too(
    a_lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli_node.run([str(a_lab / "kms-1/node.toml"), "--check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"well": True, "problems": []}


def test_json_without_a_check_is_misuse(a_lab: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        cli_node.run([str(a_lab / "kms-1/node.toml"), "--json"])

    assert ended.value.code == 2


def test_store_and_keys_print_json(a_lab: Path) -> None:
    home = a_lab / "kms-1"
    store = StoreFile.create(home / "store.db", "kms-1", Secret(read_key(home / "node.key")))
    store.apply([Row("kms-2", "standing", b"")])
    store.close()
    config, new = ("--config", str(home / "node.toml")), str(home / "new.key")

    rotated = run("keys", "rotate", *config, "--new-key", new, "--json")
    (home / "new.key").replace(home / "node.key")
    reset = run("store", "reset", "kms-2", *config, "--yes", "--json")

    assert json.loads(rotated[1]) == {"new_key": new, "rows": 1}
    assert json.loads(reset[1]) == {"peer": "kms-2", "rows": 1}


def test_a_process_that_is_not_configured_is_misuse(a_lab: Path) -> None:
    assert cli_node.run([str(a_lab / "kms-1/node.toml"), "--process", "front"]) == 2


def test_a_node_without_a_configuration_is_misuse() -> None:
    with pytest.raises(SystemExit) as why:
        cli_node.run([])

    assert why.value.code == 2


@pytest.mark.parametrize(
    "args", [("store", "check", "kms-2"), ("keys", "rotate", "--new-key", "new")]
)
def test_upkeep_of_a_node_that_never_ran_exits_with_1(a_lab: Path, args: tuple[str, ...]) -> None:
    status, _, err = run(*args, "--config", str(a_lab / "kms-1/node.toml"))

    assert status == 1
    assert "store.db" in err


@pytest.mark.slow
def test_the_version_comes_without_a_detour() -> None:
    code = "import sys; sys.argv[1:] = ['--version']; from protokms import cli; cli.main()"
    lean = "print(*(m for m in ('typer', 'rich', 'aiohttp', 'zmq') if m in sys.modules))"

    done = subprocess.run(
        [sys.executable, "-c", f"{code}; {lean}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )

    version, *loaded = done.stdout.splitlines()
    assert version
    assert loaded == [""]


@pytest.mark.slow
def test_a_node_loads_neither_typer_nor_rich(a_lab: Path) -> None:
    config = str(a_lab / "kms-1/node.toml")
    code = f"""
import sys
sys.argv[1:] = ["node", {config!r}, "--check"]
from protokms import cli
try:
    cli.main()
except SystemExit as end:
    print(end.code)
print(*(m for m in ("typer", "click", "rich.console") if m in sys.modules))
"""

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert done.stdout.splitlines() == ["kms-1 is well", "0", ""]
