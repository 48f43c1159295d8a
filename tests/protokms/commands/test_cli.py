"""The command line: exit codes, help with examples, and what a node does not load."""

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import structlog
import typer
from typer.testing import CliRunner

from actors.base import Row
from actors.storage.file import StoreFile
from protokms import cli
from protokms.client import SaeKey
from protokms.commands import node
from protokms.commands import sae as cli_sae
from protokms.commands.main import app
from protokms.config.keyfiles import read_key
from protokms.config.load import load
from protokms.lab import demo, lab, topology
from protokms.lab.demo import DemoFailed, DemoResult, DemoRow
from protokms.lab.lab import Access
from transport.message import Secret

ROW = DemoRow("6e1b", "sae-1 sae-2", 256, "0011223344556677", equal=True)
ROOT = Path(__file__).parents[3]


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
    result = CliRunner().invoke(app, args)
    return result.exit_code, result.stdout, result.stderr


def all_commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    context = typer.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if hasattr(command, "list_commands"):
            yield from all_commands(command, (*path, name))
        else:
            yield *path, name


EVERY = list(all_commands(typer.main.get_command(app)))


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


def test_the_openapi_description_is_that_of_the_node(a_lab: Path) -> None:
    file = a_lab / "kms-1/node.toml"
    file.write_text(file.read_text().replace("[etsi014]", "[etsi014]\nkey_size_bits = 512", 1))

    status, out, _ = run("openapi", "--config", str(file))

    served = load(file).etsi014
    assert served
    assert status == 0
    assert json.loads(out)["servers"] == [{"url": f"https://{served.bind}"}]
    assert '"default":512' in out.replace(" ", "")


def test_who_serves_no_saes_has_no_openapi_description(a_lab: Path) -> None:
    file = a_lab / "kms-1/node.toml"
    file.write_text(re.sub(r"\[etsi014\].*?\n\n", "", file.read_text(), flags=re.DOTALL))

    status, _, err = run("openapi", "--config", str(file))

    assert status == 1
    assert "has no [etsi014]" in err


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


def test_an_sae_of_a_lab_is_found_by_its_id(a_lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = lab.read(a_lab)
    asked: list[Access] = []

    class Client:
        """Notes what it was given, and has one key."""

        def __init__(self, *access: Any) -> None:
            asked.append(Access(*access))

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            """Close nothing."""

        def enc_keys(self, *_: object) -> list[SaeKey]:
            return [SaeKey("id-1", Secret(bytes(32)))]

    monkeypatch.setattr(cli_sae, "SaeClient", Client)
    enc = ("sae", "enc", "--peer", "sae-2", "--json")

    hidden = run(*enc, "--lab", str(a_lab), "--as", "sae-1")
    shown = run(*enc, "--lab", str(a_lab), "--as", "sae-1", "--reveal")
    status, told, _ = run("lab", "env", str(a_lab), "--as", "sae-1")
    for line in told.splitlines():
        name, _, value = line.removeprefix("export ").removesuffix(";").partition("=")
        monkeypatch.setenv(name, value)
    by_env = run(*enc)

    assert json.loads(hidden[1]) == json.loads(by_env[1]) == {"keys": [{"key_ID": "id-1"}]}
    key = base64.b64encode(bytes(32)).decode()
    assert json.loads(shown[1]) == {"keys": [{"key_ID": "id-1", "key": key}]}
    assert status == 0
    assert set(asked) == {lab.access(a_lab, "sae-1")}
    assert asked[0].url == made.nodes[0].etsi014


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (("--lab", "LAB"), 2, "--lab and --as go together"),
        (("--as", "sae-1"), 2, "--lab and --as go together"),
        (("--url", "https://x"), 2, "all of --url"),
        (("--lab", "LAB", "--as", "sae-9"), 1, "no SAE sae-9 here; there are sae-1, sae-2"),
        (("--lab", "none", "--as", "sae-1"), 1, "holds no lab"),
        (("--url", "https://x", "--ca", "no.crt", "--cert", "c", "--key", "k"), 1, "no.crt is no"),
    ],
)
def test_whom_to_ask_as_whom_is_said_in_one_of_two_ways(
    a_lab: Path, args: tuple[str, ...], status: int, said: str
) -> None:
    where = [str(a_lab) if arg == "LAB" else arg for arg in args]

    exit_status, _, err = run("sae", "status", "--peer", "x", *where)

    assert exit_status == status
    assert said in " ".join(err.replace("│", " ").split())


def test_the_check_of_a_good_configuration_is_well(
    a_lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert node.run([str(a_lab / "kms-1/node.toml"), "--check"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "etsi014.certificate: CN=kms-1 expires in 825.0 days",
        "etsi014.client_ca: CN=protokms lab CA expires in 3,650.0 days",
        "kms-1 is well",
    ]


def test_the_check_of_a_bad_one_tells_every_problem(
    a_lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = a_lab / "kms-1/node.toml"
    config.write_text(config.read_text().replace("max_bits", "max_bitz"))
    (a_lab / "kms-1/node.key").unlink()

    status = node.run([str(config), "--check"])
    started = node.run([str(config)])

    err = capsys.readouterr().err
    assert (status, started) == (1, 78)
    assert "max_bitz" in err
    assert "node.key" in err


@pytest.mark.parametrize("mode", [None, 0o755])
def test_only_a_folder_of_the_store_that_is_not_there_yet_is_worth_another_start(
    a_lab: Path, capsys: pytest.CaptureFixture[str], mode: int | None
) -> None:
    config, volume = a_lab / "kms-1/node.toml", a_lab / "volume"
    config.write_text(config.read_text().replace('"store.db"', f'"{volume}/store.db"'))
    if mode:
        volume.mkdir()
        (volume / "store.db").touch(mode)  # others can open it

    status = node.run([str(config), "--check"])
    started = node.run([str(config)])
    (a_lab / "kms-1/tls.key").unlink()
    worse = node.run([str(config)])

    assert "node.data" in capsys.readouterr().err
    assert (status, started, worse) == (1, 78 if mode else 1, 78)


def test_the_check_tells_of_the_store_beside_other_problems_in_json_too(
    a_lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = a_lab / "kms-1/node.toml"
    (a_lab / "kms-1/tls.key").unlink()
    store = a_lab / "kms-1/store.db"
    store.write_bytes(b"nonsense")
    store.chmod(0o600)

    status = node.run([str(config), "--check", "--json"])

    found = json.loads(capsys.readouterr().out)
    assert status == 1
    assert found["well"] is False
    assert [row["key"] for row in found["problems"]] == ["etsi014.key", "node.data"]
    assert all(row["file"] and row["reason"] and row["remedy"] for row in found["problems"])


def with_store(home: Path) -> None:
    """As after a first start."""
    StoreFile.create(home / "store.db", "kms-1", Secret(read_key(home / "node.key"))).close()


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_check_warns_that_there_is_no_store_yet(
    a_lab: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    config = a_lab / "kms-1/node.toml"

    status = node.run([str(config), "--check", *(["--json"] if form == "json" else [])])

    said = capsys.readouterr()
    told = json.loads(said.out)["warnings"][0]["remedy"] if form == "json" else said.err
    assert status == 0
    assert "with --new, once" in told


@pytest.mark.parametrize("other", [["--check"], ["--process", "front"]])
def test_new_goes_with_nothing_but_the_core(a_lab: Path, other: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        node.run([str(a_lab / "kms-1/node.toml"), "--new", *other])

    assert ended.value.code == 2


def test_the_check_of_a_good_configuration_is_well_in_json_too(
    a_lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_store(a_lab / "kms-1")
    assert node.run([str(a_lab / "kms-1/node.toml"), "--check", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {bound["reached"] for bound in found.pop("limits")} == {False}
    assert [row["key"] for row in found.pop("expiries")] == [
        "etsi014.certificate",
        "etsi014.client_ca",
    ]
    assert found == {"well": True, "problems": [], "warnings": [], "unchecked": []}


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_check_warns_of_a_retired_key_and_the_configuration_is_well(
    a_lab: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    config = a_lab / "kms-1/node.toml"
    with_store(config.parent)
    config.write_text(config.read_text().replace("[etsi014]", "[etsi014]\nidle_timeout_s = 9.0"))

    status = node.run([str(config), "--check", *(["--json"] if form == "json" else [])])

    said = capsys.readouterr()
    assert status == 0
    if form == "json":
        found = json.loads(said.out)
        assert (found["well"], found["problems"]) == (True, [])
        assert [row["key"] for row in found["warnings"]] == ["etsi014.idle_timeout_s"]
    else:
        assert said.out.endswith("\nkms-1 is well\n")
        assert said.err.startswith(f"warning: {config}: etsi014.idle_timeout_s: is ignored")


def test_json_without_a_check_is_misuse(a_lab: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        node.run([str(a_lab / "kms-1/node.toml"), "--json"])

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


def test_a_process_that_is_not_configured_cannot_run(
    a_lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert node.run([str(a_lab / "kms-1/node.toml"), "--process", "front"]) == 78
    assert "there is no process front" in capsys.readouterr().err


def test_a_node_without_a_configuration_is_misuse() -> None:
    with pytest.raises(SystemExit) as why:
        node.run([])

    assert why.value.code == 2


@pytest.mark.parametrize(
    "args", [("store", "check", "kms-2"), ("keys", "rotate", "--new-key", "new")]
)
def test_upkeep_of_a_node_that_never_ran_exits_with_1(a_lab: Path, args: tuple[str, ...]) -> None:
    status, _, err = run(*args, "--config", str(a_lab / "kms-1/node.toml"))

    assert status == 1
    assert "store.db" in err


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("name", ["reload", "status"])
def test_what_a_running_node_is_asked_has_a_help_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, option: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["protokms", "node", name, option])

    with pytest.raises(SystemExit) as end:
        cli.main()

    told = " ".join(capsys.readouterr().out.split())
    assert end.value.code == 0
    assert f"usage: protokms node {name} [-h] [--json] config" in told
    assert "exit codes: 0 " in told
    assert f"example: protokms node {name} lab" in told


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

    assert done.stdout.splitlines()[-3:] == ["kms-1 is well", "0", ""]  # before: who expires when


@pytest.mark.parametrize(
    "shapes", ["ring:3", "mesh", "mesh:1", "mesh:1001", "mesh:ten", "mesh:10,"]
)
def test_shapes_that_no_network_has_are_refused(shapes: str) -> None:
    refused = CliRunner().invoke(app, ["bench", "network", "--any-to-any", "--shapes", shapes])

    assert refused.exit_code == 2
    assert "mesh or dumbbell or slow or spur" in " ".join(refused.output.split())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("args", [["--version"], ["lab", "--help"], ["node", "--help"]])
def test_what_cannot_be_written_ends_in_one_line(args: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "protokms", *args],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=ROOT,
        )

    assert done.returncode == 1
    assert done.stderr == "what was asked for cannot be written: No space left on device\n"
