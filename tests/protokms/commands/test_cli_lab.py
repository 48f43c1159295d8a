"""`protokms lab` as people type it: exit codes, JSON, examples."""

import errno
import json
import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner, Result

from protokms.commands.lab import app
from protokms.config import addresses
from protokms.lab import netns
from protokms.manage import client as manage_client
from protokms.manage import words
from transport.binding import cannot_bind

COMMANDS = [
    *("init", "up", "status", "down", "kill", "start", "export", "join", "env"),
    *("netns", "cut", "mend", "logs", "restart", "renew", "revoke", "remove"),
]

URLS = ("etsi014", "metrics")


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture
def made(tmp_path: Path) -> Path:
    assert run("init", tmp_path / "lab").exit_code == 0
    return tmp_path / "lab"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    said = run(command, "--help")

    assert said.exit_code == 0
    assert "Example: `protokms lab" in said.output


def test_a_bare_lab_has_interfaces_and_no_link(tmp_path: Path) -> None:
    assert run("init", tmp_path / "lab", "--topology", "chain:3", "--bare").exit_code == 0

    text = (tmp_path / "lab/kms-2/node.toml").read_text()
    assert (text.count("[[interface]]"), text.count("[[link]]")) == (2, 0)


def test_a_lab_may_have_a_controller(tmp_path: Path) -> None:
    said = run("init", tmp_path / "lab", "--controller", "--json")

    controller = json.loads(said.stdout)["controller"]
    assert controller["id"] == "controller-1"
    assert all((tmp_path / "lab" / controller[name]).is_file() for name in ("cert", "key"))


def test_init_prints_lab_json(tmp_path: Path) -> None:
    said = run("init", tmp_path / "lab", "--topology", "star:3", "--spread", "--json")

    assert json.loads(said.stdout) == json.loads((tmp_path / "lab/lab.json").read_text())


def test_a_spread_lab_may_have_several_front_ends(tmp_path: Path) -> None:
    spread = run("init", tmp_path / "lab", "--spread", "--fronts", "3")
    whole = run("init", tmp_path / "other", "--fronts", "2")

    assert spread.exit_code == 0
    files = {file.stem for file in (tmp_path / "lab/kms-1").glob("*.toml")}
    assert files == {"node", "front-1", "front-2", "front-3", "links"}
    text = (tmp_path / "lab/kms-1/front-3.toml").read_text()
    assert "front = { number = 3, of = 3 }" in text
    assert whole.exit_code == 2
    assert "several front ends need --spread" in whole.stderr
    assert not (tmp_path / "other").exists()


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
    no = cannot_bind(f"127.0.0.1:{taken}", OSError(errno.EADDRINUSE, ""))
    monkeypatch.setattr(
        addresses, "find_trouble", lambda end, _kind, **_: no if end.port == taken else None
    )

    said = run("up", made)

    assert said.exit_code == 1
    assert f"kms-2: TCP port {taken}" in said.stderr
    assert "etsi014.bind): 127.0.0.1" in said.stderr
    assert "is occupied by another process; end that process" in said.stderr
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


def test_a_ca_that_is_not_there_is_said_and_nothing_is_unpacked(made: Path, tmp_path: Path) -> None:
    out, there = tmp_path / "k.tar", tmp_path / "there"
    run("export", made, "kms-1", "--out", out)

    said = run("join", out, there, "--ca", tmp_path / "none.pub")

    assert (said.exit_code, there.exists()) == (1, False)
    assert "does not exist" in said.stderr


def test_join_says_how_it_starts(made: Path, tmp_path: Path) -> None:
    out, there = tmp_path / "out.tar", tmp_path / "there"
    run("export", made, "kms-1", "--out", out)

    wrong = run("join", out, there, "--node", "kms-2")
    said = run("join", out, there, "--json")

    assert (wrong.exit_code, "is for kms-1" in wrong.stderr) == (1, True)
    assert json.loads(said.stdout) == {
        "node": "kms-1",
        "process": "",
        "config": str(there / "kms-1/node.toml"),
        "start": f"protokms lab up {there}",
    }
    assert run("join", out, there).exit_code == 1


def test_hosts_are_for_root_with_iproute2(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    plain = run("netns", made)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(made))
    bare = run("netns", made)

    assert (plain.exit_code, bare.exit_code) == (1, 1)
    assert "only root makes network namespaces" in plain.stderr
    assert "there is no `ip` here: install iproute2" in bare.stderr
    assert not (made / netns.FILE).exists()


def test_what_the_way_between_hosts_cannot_be_is_told_in_one_go(made: Path) -> None:
    said = run("netns", made, "--delay", "50", "--loss", "100%", "--rate", "1bit")

    assert said.exit_code == 1
    assert [line.split()[0] for line in said.stderr.splitlines()] == [
        "--delay:",
        "--loss:",
        "--rate:",
    ]


def test_hosts_of_a_shape_are_told_as_a_network(tmp_path: Path) -> None:
    good = run("init", tmp_path / "lab", "--hosts", "198.18.0.0/24", "--json")
    wrong = run("init", tmp_path / "other", "--hosts", "198.18.0.1/24")
    small = run("init", tmp_path / "other", "--hosts", "198.18.0.0/30")

    found = [
        urlsplit(node[key]).hostname for node in json.loads(good.stdout)["nodes"] for key in URLS
    ]
    assert found == ["198.18.0.1", "198.18.0.1", "198.18.0.2", "198.18.0.2"]
    assert (wrong.exit_code, small.exit_code) == (1, 1)
    assert "is no network" in wrong.stderr
    assert "has no room for 2 nodes" in small.stderr


def test_a_lab_that_does_not_run_has_nothing_to_cut(made: Path) -> None:
    said = run("cut", made, "kms-1", "kms-2")

    assert said.exit_code == 1
    assert "kms-1: there is no socket" in said.stderr


def test_a_cut_on_loopback_pauses_both_ends_of_the_link(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[str, words.Word]] = []
    monkeypatch.setattr(manage_client, "ask", lambda at, word: said.append((at.parent.name, word)))

    cut, mended = (run(name, made, "kms-1", "kms-2", "--json") for name in ("cut", "mend"))

    assert [json.loads(one.stdout)["done"] for one in (cut, mended)] == ["paused", "resumed"]
    assert said == [
        (node, words.SwitchLink(peer=peer, enabled=enabled))
        for enabled in (False, True)
        for node, peer in (("kms-1", "kms-2"), ("kms-2", "kms-1"))
    ]


def test_logs_are_printed_with_their_nodes(made: Path) -> None:
    for name in ("kms-1", "kms-2"):
        (made / name / "log").write_text(f"old\n{name} says \x1b[31mthis\n")

    both, one = run("logs", made, "--lines", "1"), run("logs", made, "kms-2")

    assert both.stdout.splitlines() == [
        f"{it} {it} says \\x1b[31mthis" for it in ("kms-1", "kms-2")
    ]
    assert one.stdout.splitlines() == ["old", "kms-2 says \\x1b[31mthis"]


def test_logs_of_nobody_are_refused(made: Path) -> None:
    assert run("logs", made, "kms-9").exit_code == 1
