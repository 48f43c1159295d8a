"""No name of a stranger is markup, or moves a terminal, in what commands print."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from protokms import commands
from protokms.client import SaeClient
from protokms.commands import node, terminal
from protokms.commands.main import app
from protokms.lab import demo, lab, topology
from protokms.lab import run as lab_run
from protokms.lab.demo import DemoResult, DemoRow
from protokms.lab.run import NodeState
from protokms.manage import client as manage_client
from protokms.manage.client import ManageFailed
from protokms.manage.printable import printable

EVIL = "[/x]\x1b[2J\r\n\x9b1m\u202e:smile:"
SHOWN = r"[/x]\x1b[2J\r\n\x9b1m\u202e:smile:"
ROWS: dict[str, list[dict[str, Any]]] = {
    "alarms": [{"id": "saes_refused", "subject": EVIL, "text": EVIL, "remedy": "", "clears": ""}],
    "peers": [{"name": EVIL, "up": True, "version": EVIL, "trouble": EVIL}],
    "links": [{"peer": EVIL, "kind": "relay", "reasons": [EVIL]}],
    "sessions": [{"destination": "b", "paths": [], "why": EVIL}],
}
ANSWER: dict[str, Any] = ROWS | {
    "dropped": 0,
    "crossing": 1,
    "path": [EVIL, "b"],
    "cost": 1.0,
    "session": ROWS["sessions"][0],
    "test": EVIL,
    "n": 1,
}


@pytest.fixture(scope="module")
def a_lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("terminal") / "lab"
    lab.init(folder, topology.parse("chain:2"))
    return folder


def answer(found: Any) -> Callable[..., Any]:
    return lambda *_, **__: found


def run(*args: str, status: int = 0) -> str:
    """Type a command; return what it prints, without the borders and folds of tables."""
    found = CliRunner(env={"COLUMNS": "400"}).invoke(app, args)
    assert found.exit_code == status, found.exception
    assert harmless(found.output)
    return re.sub(r"[│\s]+", "", found.output)


def harmless(text: str) -> bool:
    return all(one.isprintable() for one in text.replace("\n", ""))


def test_what_cannot_be_printed_is_an_escape() -> None:
    assert printable(EVIL) == SHOWN
    assert printable("sae-ä 1 …") == "sae-ä 1 …"
    assert printable("\ud800") == r"\ud800"


@pytest.mark.parametrize(
    "command",
    [
        "session add b",
        "session list",
        "route show a b",
        "peer list",
        "link list",
        "link clear b",
        "alarm list",
    ],
)
def test_answers_of_a_node_are_printed_as_they_are(
    a_lab: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(manage_client, "ask", answer(ANSWER))

    out = run(*command.split(), "--lab", str(a_lab), "--node", "kms-1")

    assert SHOWN in out


def test_so_are_refusals(a_lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: object) -> None:
        raise ManageFailed("not_allowed", EVIL)

    monkeypatch.setattr(manage_client, "ask", no)

    assert SHOWN in run("peer", "list", "--lab", str(a_lab), "--node", "kms-1", status=1)


def test_so_is_the_state_of_a_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    state = NodeState("kms-1", reasons=[EVIL], log=[EVIL])
    state.sessions = [{"destination": EVIL, "state": EVIL}]
    monkeypatch.setattr(lab_run, "status", answer([state]))

    assert run("lab", "status", "lab").count(SHOWN) == 4


def test_so_is_what_a_kme_answers(a_lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SaeClient, "status", answer({EVIL: EVIL}))
    crt = a_lab / "saes/sae-1.crt"
    files = "--ca", a_lab / "ca/ca.crt", "--cert", crt, "--key", crt.with_suffix(".key")
    where = "--url", "https://127.0.0.1:1", "--peer", "sae-2"

    assert run("sae", "status", *where, *map(str, files)).count(SHOWN) == 2


def test_so_is_a_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = DemoRow(EVIL, EVIL, 256, "00", equal=True), DemoRow("1", "a b", 256, "00", equal=False)
    monkeypatch.setattr(demo, "run_demo", answer(DemoResult(rows, 0.5, path=(EVIL, "b"))))

    out = run("demo", status=1)

    assert "Overonequantumlink:" + SHOWN in out
    assert "DIFFERENT" in out


def test_so_is_what_processes_tell(
    a_lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(a_lab / "kms-1/node.toml")
    told = {name: [EVIL] for name in ("applied", "refused", "needs_restart", "not_reached")}
    row = {"process": EVIL, "reached": True, "host": EVIL, "version": EVIL, "last_error": EVIL}
    found = told | {"processes": [row | {"actors": [], "deaths": 0, "mailbox": 0}]}
    monkeypatch.setattr(manage_client, "ask", answer(found))

    assert node.run(["reload", file]) == 1
    assert node.run(["status", file]) == 0

    out, err = capsys.readouterr()
    assert harmless(out)
    assert harmless(err)
    assert out.count(SHOWN) == 6


def test_nothing_goes_another_way() -> None:
    files = [path for path in Path(commands.__path__[0]).glob("*.py") if path.stem != "check"]
    lines = [line for path in files for line in path.read_text().splitlines()]
    own = Path(terminal.__file__).read_text().splitlines()

    assert [
        line for line in lines if "typer.echo(" in line and "json" not in line and line not in own
    ] == []
    assert [line for line in lines if "add_row(" in line and "cell" not in line] == []
    assert [line for line in lines if ".print(f" in line] == []
