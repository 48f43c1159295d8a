"""A process beside core has a file of its own, and core no secret of it: what else is told."""

import re
import shutil
import stat
import tarfile
from pathlib import Path

import pytest

from protokms.commands import node
from protokms.config.load import load, load_any, load_process
from protokms.config.sections import EdgeConfig
from protokms.config.tables import ConfigError
from protokms.lab import bundle, lab, topology
from tests.kit.checked import find_problems
from transport import curve

OLD = """
[[process]]
name = "front"
bind = "tcp://127.0.0.1:17999"
curve = "front.curve.key"
actors = ["etsi014"]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edges") / "lab"
    lab.init(folder, topology.spread(topology.parse("chain:2")))
    return folder


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "lab") / "kms-1"


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def drop(file: Path, key: str, after: str = "") -> None:
    head, mark, text = file.read_text().partition(after)
    lines = text.splitlines(keepends=True)
    first = next(line for line in lines if line.startswith(f"{key} "))
    file.write_text(head + mark + text.replace(first, "", 1))


def keys(file: Path) -> list[str]:
    return [problem.key for problem in find_problems(file)]


def test_what_lab_init_writes_is_right_at_both(home: Path) -> None:
    for name in ("node", "front", "links"):
        assert find_problems(home / f"{name}.toml") == []
    front = load_any(home / "front.toml")
    assert isinstance(front, EdgeConfig)
    assert (front.process.node, front.actors) == ("kms-1", ["etsi014"])
    assert load_process(home / "node.toml", "front") == front


def test_an_edge_needs_no_file_of_core_and_none_of_another_edge(home: Path) -> None:
    for name in ("node.key", "signing.key", "curve.key", "links.curve.key", "links.seal.key"):
        (home / name).unlink()
    (home / "../directory.json").unlink()

    load_any(home / "front.toml")
    load_process(home / "node.toml", "front")
    with pytest.raises(ConfigError):
        load(home / "node.toml")


def test_core_needs_no_private_file_of_an_edge(home: Path) -> None:
    for name in ("front.curve.key", "links.curve.key", "tls.key", "links/kms-2.key"):
        (home / name).unlink()
    for name in ("front.toml", "links.toml"):
        (home / name).unlink()

    assert load(home / "node.toml").apart == ["etsi014", "quantum_link/kms-2"]


def test_every_reason_is_told_in_one_go(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = home / "node.toml"
    own = curve.load(home / "curve.key").public
    edit(file, curve.load(home / "front.curve.key").public, own)
    edit(file, '["etsi014"]', '["etsi014", "key_store/kms-2", "quantum_link/kms-2"]')
    drop(file, "seal", '"links"')

    said = {problem.key: str(problem) for problem in find_problems(file)}

    assert "is the key of core itself" in said["process[0].public"]
    assert "and interface/<id> may live" in said["process[0].actors[1]"]
    assert "is missing" in said["process[1].seal"]
    assert "is placed twice: process[0] has it too" in said["process[1].actors[0]"]
    assert node.run([str(file)]) == node.UNFIT
    assert node.run([str(file), "--check"]) == 1
    assert capsys.readouterr().err.count("Remedy") >= 8


def test_two_placements_of_one_are_told(home: Path) -> None:
    file = home / "node.toml"
    edit(file, '["etsi014"]', '["etsi014", "quantum_link/kms-2"]')

    assert "process[1].actors[0]" in keys(file)


def test_a_front_end_here_and_apart_is_placed_twice(home: Path) -> None:
    file, front = home / "node.toml", (home / "front.toml").read_text()
    file.write_text(front[front.index("[etsi014]") :] + file.read_text())

    assert "process[0].actors[0]" in keys(file)


@pytest.mark.parametrize("key", ["public", "seal", "address", "actors"])
def test_what_core_must_know_of_an_edge_is_missed(home: Path, key: str) -> None:
    drop(home / "node.toml", key, '"front"')

    assert keys(home / "node.toml") == [f"process[0].{key}"]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("node", '[node]\nname = "kms-1"\n'),
        ("store", "[store]\nttl_s = 9\n"),
        ("transport", '[transport]\ncurve = "curve.key"\n'),
        ("directory", '[directory]\nfile = "x"\n'),
    ],
)
def test_a_table_of_core_in_the_file_of_an_edge_is_told(home: Path, key: str, text: str) -> None:
    file = home / "front.toml"
    file.write_text(file.read_text() + text)

    (problem,) = find_problems(file)

    assert problem.key == key
    assert "an edge holds no node key" in problem.remedy
    assert node.run([str(file)]) == node.UNFIT
    assert node.run([str(file), "--check"]) == 1


@pytest.mark.parametrize("name", ["node_key", "signing_key", "process_key"])
def test_a_key_of_core_in_the_file_of_an_edge_is_told(home: Path, name: str) -> None:
    edit(home / "front.toml", "[process]\n", f'[process]\n{name} = "node.key"\n')

    (problem,) = find_problems(home / "front.toml")

    assert problem.key == f"process.{name}"
    assert "an edge holds no node key" in problem.remedy


def test_core_s_own_key_is_none_for_an_edge(home: Path) -> None:
    edit(home / "front.toml", "front.curve.key", "curve.key")

    assert keys(home / "front.toml") == ["process.curve"]


def test_an_edge_with_nothing_to_run_is_told(home: Path) -> None:
    file = home / "links.toml"
    file.write_text(file.read_text().partition("[[link]]")[0])

    assert [problem.reason for problem in find_problems(file)] == ["has nothing to run"]


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('name = "front"', 'name = "other"', "process[0].name"),
        ('node = "kms-1"', 'node = "kms-2"', "process[0].config"),
        ("front.seal.key", "links.seal.key", "process[0].seal"),
        ("front.curve.key", "links.curve.key", "process[0].public"),
        ("[core]", "sibling_heartbeat_s = 0.3\n[core]", "transport.sibling_heartbeat_s"),
    ],
)
def test_core_and_an_edge_that_differ_are_told(home: Path, old: str, new: str, key: str) -> None:
    edit(home / "front.toml", old, new)

    assert key in keys(home / "node.toml")


@pytest.mark.parametrize(
    ("table", "name", "key"),
    [("[process]", "bind", "process[0].address"), ("[core]", "address", "transport.bind")],
)
def test_core_and_an_edge_that_do_not_meet_at_a_port_are_told(
    home: Path, table: str, name: str, key: str
) -> None:
    file = home / "front.toml"
    _, _, text = file.read_text().partition(table)
    drop(file, name, table)
    found = re.search(rf"^{name} +(= \S+:)(\d+)", text, re.MULTILINE)
    assert found
    other = int(found[2]) - 1
    edit(file, f"{table}\n", f'{table}\n{name} {found[1]}{other}"\n')

    (problem,) = [it for it in find_problems(home / "node.toml") if it.key == key]

    assert problem.reason == f"is port {found[2]}; {file} says port {other}"


def test_the_bundle_of_core_is_well_without_the_files_of_its_processes(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = bundle.export(home.parent, "kms-1", tmp_path / "it.tar", "core")
    bundle.join(file, tmp_path / "there")
    there = tmp_path / "there/kms-1"

    status = node.run([str(there / "node.toml"), "--check"])

    assert status == 0
    said = capsys.readouterr().err
    assert f"not checked: process[0].config: {there / 'front.toml'} is not here" in said


def test_the_file_of_core_is_none_of_an_edge(home: Path) -> None:
    edit(home / "node.toml", 'config = "front.toml"', 'config = "node.toml"')

    assert keys(home / "node.toml") == ["process[0].config"]
    assert node.run([str(home / "node.toml"), "--process", "front"]) == node.UNFIT


def test_the_form_of_0_2_is_told_with_the_lines_to_write(home: Path) -> None:
    file = home / "node.toml"
    file.write_text(file.read_text().partition("[[process]]")[0] + OLD)

    (problem,) = find_problems(file)

    public = curve.load(home / "front.curve.key").public
    core = curve.load(home / "curve.key").public
    assert problem.key == "process[0]"
    for line in (
        f'address = "tcp://127.0.0.1:17999"\npublic = "{public}"\nseal = "front.seal.key"\n',
        'actors = ["etsi014"]\nconfig = "front.toml"\n',
        '[process]\nnode = "kms-1"\nname = "front"\nbind = "tcp://127.0.0.1:17999"\n',
        f'public = "{core}"\nand move [etsi014] there',
    ):
        assert line in problem.remedy
    assert node.run([str(file)]) == node.UNFIT


@pytest.mark.parametrize("known", [True, False])
def test_the_lines_to_write_hold_addresses_that_can_be_reached(home: Path, *, known: bool) -> None:
    file = home / "node.toml"
    text = file.read_text().partition("[[process]]")[0] + OLD
    file.write_text(text.replace("tcp://127.0.0.1", "tcp://0.0.0.0"))
    if not known:
        (home / "../directory.json").unlink()

    told = {problem.key: problem.remedy for problem in find_problems(file)}["process[0]"]

    host = "127.0.0.1" if known else "the address of this host"
    assert f'address = "tcp://{host}:17999"' in told
    assert f'[core]\naddress = "tcp://{host}:' in told
    assert 'bind = "tcp://0.0.0.0:17999"' in told


@pytest.mark.parametrize(
    ("name", "table", "key"),
    [("node", '"front"', "process[0].address"), ("front", "[core]", "core.address")],
)
@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_an_address_that_nobody_can_reach_is_told(
    home: Path, name: str, table: str, key: str, host: str
) -> None:
    file = home / f"{name}.toml"
    head, mark, text = file.read_text().partition(table)
    file.write_text(
        head + mark + re.sub(r"(address += .tcp://)[0-9.]+", rf"\g<1>{host}", text, count=1)
    )

    assert keys(file) == [key]


def test_the_one_key_of_all_processes_is_read_no_more(home: Path) -> None:
    edit(home / "node.toml", "[transport]\n", '[transport]\nprocess_key = "gone.key"\n')

    keys = [warning.key for warning in load(home / "node.toml").warnings]

    assert "transport.process_key" in keys


@pytest.mark.parametrize("process", ["core", "front", "links"])
def test_a_bundle_holds_the_secrets_of_one_process_alone(
    home: Path, tmp_path: Path, process: str
) -> None:
    file = bundle.export(home.parent, "kms-1", tmp_path / "it.tar", process)

    with tarfile.open(file) as tar:
        found = {name for name in tar.getnames() if name.endswith(".key")}
    secrets = {
        "core": {"node.key", "signing.key", "curve.key", "front.seal.key", "links.seal.key"},
        "front": {"front.curve.key", "front.seal.key", "tls.key"},
        "links": {"links.curve.key", "links.seal.key", "links/kms-2.key"},
    }
    assert found == {f"kms-1/{name}" for name in secrets[process]}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_file_of_a_process_can_be_given_by_itself_or_found_by_core(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert node.run([str(home / "front.toml"), "--check"]) == 0
    assert capsys.readouterr().out.endswith("kms-1/front is well\n")
    assert node.run([str(home / "node.toml"), "--process", "nobody"]) == node.UNFIT
    edit(home / "node.toml", 'config = "front.toml"', "")
    assert node.run([str(home / "node.toml"), "--process", "front"]) == node.UNFIT
    assert "process[0].config: is missing" in capsys.readouterr().err


def test_the_process_that_is_named_is_checked(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = home / "node.toml"

    def check(process: str) -> tuple[int, str]:
        status = node.run([str(file), "--process", process, "--check"])
        return status, "".join(reversed(capsys.readouterr()))

    assert check("front")[1].endswith("kms-1/front is well\n")
    assert check("core")[1].endswith("kms-1 is well\n")
    status, said = check("nobody")
    assert status == 1
    assert "there is no process nobody. Remedy: these are there: core, front, links." in said
    edit(home / "links.toml", 'name = "links"', 'name = "other"')
    status, said = check("links")
    assert status == 1
    assert "process[1].config: is the file of kms-1/other" in said
    (home / "front.seal.key").chmod(0o644)
    assert check("front")[0] == 1
    assert node.run([str(home / "links.toml"), "--process", "core", "--check"]) == 1
