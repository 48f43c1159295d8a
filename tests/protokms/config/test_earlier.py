"""A configuration of an earlier release is told what became of its keys, and what to write."""

import json
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
import pytest

from protokms.commands import node
from protokms.commands.check import find
from protokms.config import earlier, sections
from protokms.config.load import load
from tests.golden import old_lab

GOLDEN = Path(__file__).parents[2] / "golden/config-0.1.0.json"
PAGE = Path(__file__).parents[3] / "docs/operate.md"
REQUIRED = "required"


def golden() -> dict[str, Any]:
    """Return every key of 0.1.0, and its default."""
    found: dict[str, Any] = json.loads(GOLDEN.read_text())["keys"]
    return found


def bare(hint: Any) -> Any:
    """Return the struct or the type that a hint is about."""
    for inner in get_args(hint):
        if get_origin(hint) is not dict and inner is not type(None):
            return bare(inner)
    return hint


def known(kind: type[msgspec.Struct], before: str = "") -> dict[str, Any]:
    """Return every key of today, and its default."""
    found: dict[str, Any] = {}
    for it in msgspec.structs.fields(kind):
        inner, key = bare(it.type), f"{before}{it.encode_name}"
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            found |= known(inner, f"{key}.")
        elif it.required:
            found[key] = REQUIRED
        elif it.default is msgspec.NODEFAULT:
            found[key] = it.default_factory()
        else:
            found[key] = it.default
    return found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Lay out a node as 0.1.0 has left it."""
    old_lab.unpack("0.1.0", tmp_path / "lab")
    return tmp_path / "lab/kms-1"


def add(home: Path, table: str, *lines: str) -> Path:
    """Write lines into a table of the file, which may have it already."""
    file = home / "node.toml"
    text, head = file.read_text(), f"[{table}]\n"
    rows = "".join(f"{line}\n" for line in lines)
    new = text.replace(head, head + rows) if head in text else f"{head}{rows}{text}"
    file.write_text(new)
    return file


def warnings(file: Path) -> dict[str, str]:
    """Return what is said of each key: the reason, and what to write."""
    return {it.key: f"{it.reason}. {it.remedy}" for it in load(file).warnings}


def test_every_key_that_is_gone_or_has_another_default_is_known() -> None:
    now = known(sections.Tables)
    gone = {key for key in golden() if key not in now}
    other = {
        key: (before, now[key])
        for key, before in golden().items()
        if key in now and before != REQUIRED and list_or(before) != list_or(now[key])
    }

    assert gone == {*earlier.RETIRED, *earlier.PROCESS} & golden().keys()
    assert {*earlier.PROCESS} <= gone
    assert other == {key: (it.before, it.now) for key, it in earlier.DEFAULTS.items()}


def list_or(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def test_every_key_of_which_something_is_told_was_there() -> None:
    told = {*earlier.DEFAULTS, *earlier.MEANINGS, *earlier.PROCESS, earlier.HEARTBEAT}

    assert told <= golden().keys()


def test_a_key_that_is_needed_now_was_needed_then() -> None:
    now = known(sections.Tables)
    tables = {key.rpartition(".")[0] for key in golden()} - {"process"}

    needed = {key for key, value in now.items() if value == REQUIRED}

    assert {key for key in needed if key.rpartition(".")[0] in tables} <= golden().keys()


def test_a_file_of_an_earlier_release_is_well_and_told_what_has_changed(home: Path) -> None:
    assert warnings(home / "node.toml") == {
        "transport.process_key": "is ignored: each process beside core has a seal of its own. "
        "take it out, and delete the file",
        "relay.max_sessions": "is 1,024 where it is not written; until 0.2 it was 256. "
        "write max_sessions = 256 in [relay] to keep that",
        "relay.max_distant_peers": "is 1,024 where it is not written; until 0.2 it was 256. "
        "write max_distant_peers = 256 in [relay] to keep that",
        "relay.max_crossing": "is 16,384 where it is not written; until 0.2 it was 4,096. "
        "write max_crossing = 4096 in [relay] to keep that",
    }


def test_what_is_written_as_it_was_told_is_not_told_again(home: Path) -> None:
    file = add(home, "relay", *(f"{key[6:]} = {it.before}" for key, it in earlier.DEFAULTS.items()))
    assert list(warnings(file)) == ["transport.process_key"]

    kept = [row for row in file.read_text().splitlines() if not row.startswith("process_key")]
    file.write_text("\n".join(kept))

    made = load(file)
    assert made.warnings == ()
    assert made.relay.max_crossing == 4_096


@pytest.mark.parametrize("key", earlier.MEANINGS)
def test_a_key_that_means_something_else_is_told_where_it_is_written(home: Path, key: str) -> None:
    table, _, name = key.partition(".")
    before = warnings(home / "node.toml")

    after = warnings(add(home, table, f"{name} = {golden()[key]}"))

    assert key not in before
    assert after[key] == ". ".join(earlier.MEANINGS[key])


@pytest.mark.parametrize("key", [key for key in earlier.RETIRED if key in golden()])
def test_a_key_that_is_a_constant_now_is_told_with_its_value(home: Path, key: str) -> None:
    said = warnings(add(home, "etsi014", f"{key[8:]} = 12"))

    assert said[key].startswith(f"is ignored: its value is a constant, {earlier.RETIRED[key]:g}")
    assert said[key].endswith("take it out")


def test_the_check_prints_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = node.run([str(home / "node.toml"), "--check"])

    said = capsys.readouterr()
    assert status == 0
    assert "write max_crossing = 4096 in [relay] to keep that" in said.err


def test_a_process_is_told_its_new_form_and_whose_heartbeat_is_whose(home: Path) -> None:
    file = home / "node.toml"
    (home / "front.curve.key").write_bytes((home / "curve.key").read_bytes())
    (home / "front.curve.key").chmod(0o600)
    rows = ["", "[[process]]", 'name = "front"', 'bind = "tcp://127.0.0.1:17999"']
    rows += ['curve = "front.curve.key"', 'actors = ["etsi014"]', ""]
    file.write_text(file.read_text() + "\n".join(rows))

    found, _ = find(file)

    (problem,) = [it for it in found.problems if it.key == "process[0]"]
    (beat,) = [it for it in found.warnings if it.key == earlier.HEARTBEAT]
    assert beat.remedy == "write sibling_heartbeat_s = 1.0 to keep that"
    for line in ('address = "tcp://127.0.0.1:17999"', 'config = "front.toml"', "[core]"):
        assert line in problem.remedy.splitlines()


def test_the_page_has_each_key() -> None:
    page = PAGE.read_text()
    told = {*earlier.DEFAULTS, *earlier.MEANINGS, earlier.HEARTBEAT, "transport.process_key"}
    told |= {*earlier.RETIRED} & golden().keys()

    missing = [key for key in told if f"`{key.partition('.')[2]}`" not in page]

    assert missing == []
