"""Several front ends of one node: how they are numbered, and what they have in common."""

import re
import shutil
import socket
from pathlib import Path

import pytest

from etsi.http.options import portion
from protokms.commands import node
from protokms.config import addresses
from protokms.config.limits import limits
from protokms.config.load import examine, load, load_any, load_process
from protokms.config.sections import EdgeConfig
from protokms.config.tables import Problem
from protokms.lab import lab, topology
from tests.kit.checked import find_problems
from transport.endpoint import Endpoint


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fronts") / "lab"
    lab.init(folder, topology.spread(topology.parse("chain:2"), 2))
    return folder


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "lab") / "kms-1"


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def told(file: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for problem in find_problems(file):
        found[problem.key] = f"{found.get(problem.key, '')}{problem}\n"
    return found


def edge(home: Path, name: str) -> EdgeConfig:
    made = load_any(home / f"{name}.toml")
    assert isinstance(made, EdgeConfig)
    return made


def test_what_lab_init_writes_is_right_in_all_files(home: Path) -> None:
    for name in ("node", "front-1", "front-2", "links"):
        assert find_problems(home / f"{name}.toml") == []
    core, second = load(home / "node.toml"), edge(home, "front-2")
    assert core.audience == ["etsi014/1", "etsi014/2"]
    assert [core.process_of(name) for name in core.audience] == ["front-1", "front-2"]
    assert (second.front, second.fronts, second.actors) == ("etsi014/2", 2, ["etsi014/2"])
    assert load_process(home / "node.toml", "front-2") == second


@pytest.mark.parametrize(("limit", "of", "each"), [(512, 2, 320), (1, 3, 1), (10, 3, 5), (9, 1, 9)])
def test_each_has_its_part_of_a_limit_and_a_quarter_more(limit: int, of: int, each: int) -> None:
    found = portion({"max_connections": limit, "max_body_octets": 4096}, of)

    assert found == {"max_connections": each, "max_body_octets": 4096}


def test_check_tells_the_limits_of_the_one_process(home: Path) -> None:
    most = {it.key: it.limit for it in limits(edge(home, "front-1"))}

    assert most["etsi014.max_connections"] == 320
    assert most["etsi014.max_in_flight"] == 320


def test_both_share_their_address_and_metrics_do_not(home: Path) -> None:
    for name in ("front-1", "front-2"):
        file = home / f"{name}.toml"
        file.write_text(file.read_text() + '\n[metrics]\nbind = "127.0.0.1:17999"\n')

    report, _ = examine(home / "node.toml")

    (problem,) = report.problems
    assert (problem.file, problem.key) == (str(home / "front-2.toml"), "metrics.bind")
    assert f"is bound by metrics.bind in {home / 'front-1.toml'}" in problem.reason


def test_the_check_of_ports_knows_who_may_share_one(home: Path) -> None:
    values = {"process": edge(home, "front-1").process, "etsi014": edge(home, "front-1").etsi014}
    wanted = [place for place in addresses.places(values) if place.key == "etsi014.bind"]
    with socket.socket() as sibling:
        sibling.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sibling.bind((wanted[0].end.host, wanted[0].end.port))
        sibling.listen()
        shared = addresses.troubles(wanted)
        alone = addresses.troubles([wanted[0]._replace(shared=False)])

    assert (shared, len(alone)) == ([], 1)


@pytest.mark.parametrize(
    ("actors", "key", "words"),
    [
        ('["etsi014/3"]', "process[1].actors[0]", "number them etsi014/1 to etsi014/2"),
        ('["etsi014/1"]', "process[1].actors[0]", "etsi014/1 is placed twice"),
        ('["etsi014"]', "process[1].actors[0]", "stands beside etsi014/1"),
        ('["etsi014/0"]', "process[1].actors[0]", "etsi014/0 lives in core"),
        ('["etsi014/x"]', "process[1].actors[0]", "etsi014/x lives in core"),
        ('["etsi014/2", "etsi014/3"]', "process[1].actors", "are 2 front ends"),
    ],
)
def test_numbers_that_are_wrong_are_told(home: Path, actors: str, key: str, words: str) -> None:
    edit(home / "node.toml", '["etsi014/2"]', actors)

    assert words in told(home / "node.toml")[key]


def test_core_has_no_front_end_beside_several(home: Path) -> None:
    file, front = home / "node.toml", (home / "front-1.toml").read_text()
    file.write_text(front[front.index("[etsi014]") :] + file.read_text())

    found = told(file)

    assert "core has a front end too" in found["process[0].actors[0]"]
    assert "core has a front end too" in found["process[1].actors[0]"]


def test_there_are_not_too_many(home: Path) -> None:
    many = ", ".join(f'"etsi014/{n}"' for n in range(2, 18))
    edit(home / "node.toml", '["etsi014/2"]', f"[{many}]")

    assert "has 17 front ends" in told(home / "node.toml")["process"]


@pytest.mark.parametrize(
    ("place", "key", "words"),
    [
        ("{ number = 3, of = 2 }", "process.front.number", "is 3, of 2 front ends"),
        ("{ number = 0, of = 2 }", "process.front.number", ">= 1"),
        ("{ number = 1, of = 17 }", "process.front.of", "<= 16"),
        ("{ number = 1 }", "process.front.of", "is missing"),
        ("2", "process.front", "is a number, not a table"),
    ],
)
def test_a_place_that_is_none_is_told(home: Path, place: str, key: str, words: str) -> None:
    edit(home / "front-2.toml", "{ number = 2, of = 2 }", place)

    assert words in told(home / "front-2.toml")[key]
    assert node.run([str(home / "front-2.toml")]) == node.UNFIT


def test_a_place_without_a_front_end_is_told(home: Path) -> None:
    edit(home / "links.toml", "[core]\n", "front = { number = 1, of = 2 }\n[core]\n")

    assert list(told(home / "links.toml")) == ["process.front"]


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ("{ number = 1, of = 2 }", "is etsi014/2; "),
        ("{ number = 2, of = 3 }", "says that it is one of 3 front ends, not of 2"),
    ],
)
def test_core_and_a_front_end_that_differ_are_told(home: Path, new: str, words: str) -> None:
    edit(home / "front-2.toml", "{ number = 2, of = 2 }", new)

    assert words in told(home / "node.toml")["process[1].actors"]


def test_front_ends_on_one_host_have_one_address(home: Path) -> None:
    file = home / "front-2.toml"
    table = file.read_text().partition("[etsi014]")[2]
    port = re.search(r'bind = "127.0.0.1:(\d+)"', table)
    assert port
    edit(file, f"127.0.0.1:{port[1]}", "127.0.0.1:17998")

    assert (
        "let all front ends on one host have the same"
        in told(home / "node.toml")["process[1].config"]
    )


def test_a_clash_within_one_file_is_told_once(home: Path) -> None:
    one, two = Path("node.toml"), Path("front.toml")
    place = addresses.Place("metrics.bind", Endpoint("127.0.0.1", 9), socket.SOCK_STREAM)

    (problem,) = addresses.clashes([(one, [place]), (two, [place])])

    assert isinstance(problem, Problem)
    assert addresses.clashes([(one, [place, place])]) == []
