"""`protokms session`, `route`, `peer`, `link`, `alarm`: which node is asked, exit codes, JSON."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from protokms.commands import node
from protokms.commands.main import app
from protokms.lab import lab, topology
from protokms.manage import client as manage_client
from protokms.manage import words
from protokms.manage.client import ManageFailed

SESSION = {
    "destination": "kms-3",
    "paths": [["kms-1", "kms-2", "kms-3"]],
    "n": 1,
    "low_bits": 0,
    "high_bits": 0,
    "weight": 1,
    "fixed": False,
    "state": "established",
    "why": "",
}
LINK = {"peer": "kms-2", "kind": "quantum", "ready": True, "stored_bits": 4096, "own_bits": 0}
ALARM = {
    "id": "bad_bits",
    "subject": "kms-2",
    "since": "2026-01-01T00:00:00+00:00",
    "text": "a test failed",
    "remedy": "look at it",
    "clears": "hand",
}
POLICY = {
    "name": "gold",
    "owner": "file",
    "order": 10,
    "masters": ["sae-1"],
    "slaves": ["*"],
    "allow": True,
    "max_bandwidth": 1_024,
    "rate_of": "sae",
    "stock_bits": None,
    "ttl_s": None,
    "priority": 0,
    "paths": 0,
}
ANSWERS: dict[type, dict[str, Any]] = {
    words.AddSession: {"session": SESSION},
    words.RemoveSession: {},
    words.ListSessions: {"sessions": [SESSION], "crossing": 4},
    words.ShowRoute: {
        "path": ["kms-1", "kms-2", "kms-3"],
        "cost": 2.5,
        "links": [{"peer": "kms-2", "stock": 3, "rate": 7}],
    },
    words.ListPeers: {"peers": [{"name": "kms-2", "up": True, "version": "1", "trouble": ""}]},
    words.ListLinks: {"links": [LINK | {"reasons": []}]},
    words.ClearLink: {"test": "repeated_bits"},
    words.ListAlarms: {"alarms": [ALARM], "dropped": 0},
    words.ClearAlarm: {"n": 1},
    words.AddLink: {"revision": 1},
    words.RemoveLink: {"revision": 2},
    words.SwitchLink: {"revision": 3},
    words.AddPolicy: {"revision": 4},
    words.RemovePolicy: {"revision": 5},
    words.ListPolicies: {"policies": [POLICY]},
}
Asked = list[tuple[str, words.Word]]


@pytest.fixture(scope="module")
def a_lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("manage") / "lab"
    lab.init(folder, topology.parse("chain:2"))
    return folder


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    seen: Asked = []

    def ask(path: Path, word: words.Word) -> dict[str, Any]:
        seen.append((path.parent.name, word))
        return ANSWERS[type(word)]

    monkeypatch.setattr(manage_client, "ask", ask)
    return seen


def run(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, args)
    return result.exit_code, result.stdout, result.stderr


def test_a_node_is_named_by_its_configuration_or_its_lab(a_lab: Path, asked: Asked) -> None:
    config = str(a_lab / "kms-2/node.toml")

    assert run("peer", "list", "--config", config)[0] == 0
    assert run("peer", "list", "--lab", str(a_lab), "--node", "kms-1")[0] == 0
    assert run("route", "show", "kms-1", "kms-3", "--lab", str(a_lab))[0] == 0

    assert [name for name, _ in asked] == ["kms-2", "kms-1", "kms-1"]
    assert asked[2][1] == words.ShowRoute(start="kms-1", end="kms-3")


@pytest.mark.parametrize(
    "command",
    [
        ("session", "add", "kms-3"),
        ("session", "remove", "kms-3"),
        ("session", "list"),
        ("route", "show", "kms-1", "kms-3"),
        ("peer", "list"),
        ("link", "list"),
        ("link", "clear", "kms-2"),
        ("alarm", "list"),
    ],
    ids=" ".join,
)
def test_each_command_prints_a_table_and_json(
    a_lab: Path, asked: Asked, command: tuple[str, ...]
) -> None:
    where = ("--lab", str(a_lab), "--node", "kms-1")

    status, text, _ = run(*command, *where)
    status_json, out, _ = run(*command, *where, "--json")

    assert status == status_json == 0
    assert re.search("kms-[23]", text)
    assert json.loads(out) == ANSWERS[type(asked[0][1])]
    assert asked[0] == asked[1]


@pytest.mark.parametrize(
    ("test", "told"),
    [("repeated_bits", "is over; it began with repeated_bits"), ("", "is not in force")],
)
def test_clearing_a_link_says_what_there_was(
    a_lab: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch, test: str, told: str
) -> None:
    monkeypatch.setitem(ANSWERS, words.ClearLink, {"test": test})

    status, out, _ = run("link", "clear", "kms-2", "--lab", str(a_lab), "--node", "kms-1")

    assert status == 0
    assert out.strip() == f"the quarantine of the link to kms-2 {told}"
    assert asked[0][1] == words.ClearLink(peer="kms-2")


def test_without_alarms_it_says_so_and_that_older_ones_made_room(
    a_lab: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ANSWERS, words.ListAlarms, {"alarms": [], "dropped": 2})

    status, out, _ = run("alarm", "list", "--lab", str(a_lab), "--node", "kms-1")

    assert status == 0
    assert out.splitlines() == ["no alarms", "older ones that had to make room: 2"]
    assert asked[0][1] == words.ListAlarms()


def test_an_alarm_is_named_by_id_and_subject(a_lab: Path, asked: Asked) -> None:
    where = ("--lab", str(a_lab), "--node", "kms-1")

    status, out, _ = run("alarm", "clear", "forged", "kms-2", *where)

    assert (status, out) == (0, "alarms ended: 1\n")
    assert run("alarm", "clear", "forged", *where)[0] == 0
    assert run("alarm", "clear", "forged", "x" * 129, *where)[0] == 2
    assert [word for _, word in asked] == [
        words.ClearAlarm(id="forged", subject="kms-2"),
        words.ClearAlarm(id="forged"),
    ]


def test_a_session_takes_paths_and_marks(a_lab: Path, asked: Asked) -> None:
    where = ("--lab", str(a_lab), "--node", "kms-1")
    two = ("--path", "kms-1,kms-2,kms-3", "--path", "kms-1,kms-4,kms-3")

    status, out, _ = run("session", "add", "kms-3", *two, "--low", "100", "--weight", "3", *where)

    assert status == 0
    assert "kms-1-kms-2-kms-3" in out
    assert asked[0][1] == words.AddSession(
        destination="kms-3",
        paths=(("kms-1", "kms-2", "kms-3"), ("kms-1", "kms-4", "kms-3")),
        n=2,
        low_bits=100,
        high_bits=200,
        weight=3,
    )


def test_links_are_added_removed_paused_and_resumed(a_lab: Path, asked: Asked) -> None:
    where = ("--lab", str(a_lab), "--node", "kms-1")

    for args in (
        ("add", "kms-2", "--interface", "3"),
        ("add", "kms-2"),
        ("remove", "kms-2"),
        ("pause", "kms-2"),
        ("resume", "kms-2"),
    ):
        status, out, _ = run("link", *args, *where)
        assert status == 0
        assert "kms-2" in out

    assert [word for _, word in asked] == [
        words.AddLink(peer="kms-2", interface=3),
        words.AddLink(peer="kms-2"),
        words.RemoveLink(peer="kms-2"),
        words.SwitchLink(peer="kms-2", enabled=False),
        words.SwitchLink(peer="kms-2", enabled=True),
    ]


def test_how_many_paths_is_left_to_the_node_unless_it_is_said(a_lab: Path, asked: Asked) -> None:
    where = ("--lab", str(a_lab), "--node", "kms-1")

    run("session", "add", "kms-3", *where)
    run("session", "add", "kms-3", "--paths", "1", *where)

    assert asked[0][1] == words.AddSession(destination="kms-3", n=0)
    assert asked[1][1] == words.AddSession(destination="kms-3", n=1)


@pytest.mark.parametrize(
    "args",
    [
        ("peer", "list"),
        ("peer", "list", "--lab", "x"),
        ("peer", "list", "--node", "kms-1"),
        ("peer", "list", "--lab", "x", "--config", "y"),
        ("session", "add", "--lab", "x", "--node", "y"),
        ("session", "add", "kms-3", "--lab", "x", "--node", "y", "--paths", "0"),
        ("route", "show", "kms-1", "kms-3"),
        ("session",),
    ],
    ids=" ".join,
)
def test_misuse_exits_with_2(args: tuple[str, ...]) -> None:
    assert run(*args)[0] == 2


@pytest.mark.parametrize("path", ["kms-1,,kms-3", "", "kms-1", "kms-1,", "kms-1," + "x" * 65])
def test_what_is_no_path_is_refused_before_the_node_is_asked(
    a_lab: Path, asked: Asked, path: str
) -> None:
    where = ("--lab", str(a_lab), "--node", "kms-1")

    status, _, err = run("session", "add", "kms-3", "--path", path, *where)

    assert (status, asked) == (2, [])
    assert "--path" in err
    assert re.search(r"is no path|the name of a node has 1 to 64", err)


def test_more_paths_than_shares_are_refused_before_the_node_is_asked(
    a_lab: Path, asked: Asked
) -> None:
    many = ("--path", "kms-1,kms-2,kms-3") * 9

    status, _, err = run("session", "add", "kms-3", *many, "--lab", str(a_lab), "--node", "kms-1")

    assert (status, asked) == (2, [])
    assert "at most 8 paths" in err


@pytest.mark.parametrize(
    ("command", "argument"),
    [
        (("session", "add", ""), "destination"),
        (("session", "remove", ""), "destination"),
        (("route", "show", "", "kms-3"), "FROM"),
        (("route", "show", "kms-1", "x" * 65), "TO"),
    ],
)
def test_what_is_no_name_of_a_node_is_refused_before_the_node_is_asked(
    a_lab: Path, asked: Asked, command: tuple[str, ...], argument: str
) -> None:
    status, _, err = run(*command, "--lab", str(a_lab), "--node", "kms-1")

    assert (status, asked) == (2, [])
    assert argument in err
    assert "the name of a node has 1 to 64" in err


@pytest.mark.parametrize(
    ("code", "why", "kept"),
    [
        ("not_allowed", "refused by kms-3", True),
        ("not_allowed", "kms-1: kms-3 shares a quantum link with us", False),
        ("not_enough_disjoint_paths", "kms-1: a node is on two of the paths", False),
    ],
)
def test_a_refusal_tells_whether_the_session_is_kept(
    a_lab: Path, monkeypatch: pytest.MonkeyPatch, code: str, why: str, kept: bool
) -> None:
    def refuse(*_: object) -> dict[str, Any]:
        raise ManageFailed(code, f"{code}: {why}")

    monkeypatch.setattr(manage_client, "ask", refuse)

    add = ("session", "add", "kms-3", "--lab", str(a_lab), "--node", "kms-1")
    _, _, err = run(*add)
    _, out, _ = run(*add, "--json")

    assert ("tried again by itself" in err) is kept
    told = {"code": code, "why": why} | ({"kept": True} if kept else {})
    assert json.loads(out) == {"failed": told}


def test_a_refusal_exits_with_1_and_says_why(a_lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> dict[str, Any]:
        raise ManageFailed("no_route", "no_route: refused by kms-2")

    monkeypatch.setattr(manage_client, "ask", refuse)
    where = ("--lab", str(a_lab), "--node", "kms-1")

    status, _, err = run("session", "add", "kms-9", *where)
    status_json, out, _ = run("session", "add", "kms-9", *where, "--json")

    assert status == status_json == 1
    assert err.startswith("no_route: refused by kms-2\n")
    assert "tried again by itself" in err
    assert json.loads(out)["failed"]["why"] == "refused by kms-2"


def test_a_node_that_does_not_run_exits_with_1(a_lab: Path) -> None:
    status, _, err = run("session", "list", "--lab", str(a_lab), "--node", "kms-1")

    assert status == 1
    assert "does the node run?" in err


def test_a_lab_or_a_configuration_that_is_not_there_exits_with_1(
    a_lab: Path, tmp_path: Path
) -> None:
    a_lab = shutil.copytree(a_lab, tmp_path / "lab")
    nowhere, nobody = str(a_lab / "nowhere"), ("--lab", str(a_lab), "--node", "kms-9")
    config = a_lab / "kms-1/node.toml"
    config.write_text(re.sub(r"\[manage\]\nsocket = .*\n", "", config.read_text()))

    assert run("peer", "list", "--lab", nowhere, "--node", "kms-1")[0] == 1
    assert run("peer", "list", "--config", nowhere)[0] == 1
    assert "there is no node kms-9" in run("peer", "list", *nobody)[2]
    assert "there is no [manage] socket" in run("peer", "list", "--config", str(config))[2]


def spoilt(a_lab: Path, folder: Path, old: str, new: str) -> Path:
    """Return a configuration of kms-1 in which something is wrong."""
    config = shutil.copytree(a_lab, folder / "lab") / "kms-1/node.toml"
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))
    return config


def test_a_node_is_asked_whatever_else_is_wrong_in_its_file(
    a_lab: Path, tmp_path: Path, asked: Asked
) -> None:
    config = spoilt(a_lab, tmp_path, "[etsi014]\n", "[etsi014]\nmax_conections = 5\n")

    assert run("alarm", "list", "--config", str(config))[0] == 0
    where = ("--lab", str(config.parents[1]), "--node", "kms-1")
    assert run("peer", "list", *where)[0] == 0

    assert [name for name, _ in asked] == ["kms-1", "kms-1"]


WRONG = {
    "no TOML": ("[etsi014]\n", "[[[\n", "is not TOML: "),
    "an edge": ("[transport]\n", "[core]\n", "is the file of one process beside core"),
    "another key": ('socket = "', 'sockets = "', "manage.sockets: is an unknown key"),
    "no text": ('socket = "', 'socket = 5 # "', "manage.socket: "),
}


@pytest.mark.parametrize("what", WRONG)
def test_why_a_socket_cannot_be_found_is_told(
    a_lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    old, new, told = WRONG[what]
    config = str(spoilt(a_lab, tmp_path, old, new))

    status, _, err = run("alarm", "list", "--config", config)
    assert (status, told in err) == (1, True)

    assert node.run(["status", config]) == 1
    err = capsys.readouterr().err
    assert told in err
    assert "SIGHUP" not in err

    assert node.run(["reload", config]) == 1
    err = capsys.readouterr().err
    assert told in err
    assert "SIGHUP" in err
    assert ("give the file of core" in err) is (what == "an edge")

    assert node.run(["reload", config, "--json"]) == 1
    failed = json.loads(capsys.readouterr().out)["failed"]
    assert failed["code"] == "not_running"
    assert told in failed["why"]


def test_policies_are_added_listed_and_removed(a_lab: Path, asked: Asked) -> None:
    where = ("--lab", str(a_lab), "--node", "kms-1")
    who = ("--master", "sae-1", "--slave", "node:kms-2", "--slave", "*")

    assert run("policy", "add", "guests", "--order", "5", *who, "--deny", *where)[0] == 0
    rate = ("--max-bandwidth", "1024", "--per-sae")
    limits = (*rate, "--ttl", "60", "--stock-bits", "8192", "--priority", "3", "--paths", "2")
    assert run("policy", "add", "gold", "--order", "1", *who, *limits, *where)[0] == 0
    assert run("policy", "remove", "guests", *where)[0] == 0
    status, out, _ = run("policy", "list", *where)

    assert (status, "gold" in out, "1,024" in out) == (0, True, True)
    terms: dict[str, Any] = {"masters": ("sae-1",), "slaves": ("node:kms-2", "*")}
    assert [word for _, word in asked] == [
        words.AddPolicy(name="guests", order=5, allow=False, **terms),
        words.AddPolicy(
            name="gold",
            order=1,
            max_bandwidth=1024,
            rate_of="sae",
            stock_bits=8192,
            ttl_s=60,
            priority=3,
            paths=2,
            **terms,
        ),
        words.RemovePolicy(name="guests"),
        words.ListPolicies(),
    ]
