"""Modules of other packages: how they are found, what their options may be, and every reason."""

import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protokms.config import own_actors, plugins
from protokms.config.load import load
from protokms.config.tables import ConfigError, Loose
from protokms.lab import bundle, lab, topology
from protokms.lab.lab import LabError
from protokms.lab.topology import LinkPlan, NodePlan, Topology
from protokms.node.interfaces import FileInterfaces, link_child
from tests.kit.checked import find_problems
from tests.kit.folders import HOME, installed

NAMES = ("folder", "qkd_folder:factory")
BAD = """
from pathlib import Path
from msgspec import Struct

class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    low: int = 1
    high: int = 2

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is more than high")

class Odd(Struct):
    which: complex | Path

class Inner(Struct):
    ca: Path

class Files(Struct):
    key: Path
    more: list[Path] = []
    tables: list[Inner] = []
    folder: Path | None = None
    socket: Path | None = None

def filed(role: str, options: Files):
    options.key.read_bytes()
    return lambda: None

def factory(role: str, options: Options):
    if options.high == 9:
        raise SystemExit(9)
    return {1: lambda: None, 2: 5, 3: None}[options.low]

def acts(options: Files):
    return None

def silent(options: Options):
    return None

def odd(role: str, options: Odd):
    ...

def plain(role: str):
    ...
"""


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example is installed, and so is a package that does wrong."""
    folder = installed(HOME, tmp_path / "site")
    (folder / "qkd_bad.py").write_text(BAD)
    (folder / "qkd_broken.py").write_text("raise SystemExit('no driver')\n")
    monkeypatch.syspath_prepend(folder)
    names = ("qkd_folder", "qkd_bad", "qkd_broken")
    yield
    for name in names:
        sys.modules.pop(name, None)


def made(home: Path, module: str, *, bare: bool = False, **options: object) -> Path:
    """Make a lab with such a link, and return the file of its first node."""
    own = Loose(home, options or {"folder": "keys"})
    nodes = [NodePlan(name=f"kms-{i}", saes=[f"sae-{i}"]) for i in (1, 2)]
    shape = Topology(nodes=nodes, links=[LinkPlan(a="kms-1", b="kms-2", module=module, own=own)])
    home.mkdir(exist_ok=True)
    lab.init(home / "lab", shape, bare=bare)
    file = home / "lab/kms-1/node.toml"
    for folder in (file.parent / "keys", *([file.parent / "links/keys"] if bare else [])):
        folder.mkdir(mode=0o700)
    return file


def problems(file: Path) -> dict[str, str]:
    return {it.key: it.reason for it in find_problems(file)}


@pytest.mark.parametrize("name", NAMES)
def test_a_module_of_another_package_is_made_with_its_options(tmp_path: Path, name: str) -> None:
    file = made(tmp_path, name, folder="keys", poll_s=0.5)

    (link,) = load(file).links
    module = link_child(link).args[1]()

    assert (link.module, link.bind, module.role) == (name, None, "sender")
    assert module._folder.path == file.parent / "keys"
    assert module._watch._every_s == 0.5


@pytest.mark.parametrize("name", NAMES)
def test_an_interface_has_such_a_module_and_each_of_its_files_the_options(
    tmp_path: Path, name: str
) -> None:
    file = made(tmp_path, name, bare=True)
    (one,) = load(file).interfaces
    interfaces = FileInterfaces((), [one], holder=str)

    module = interfaces.link("kms-2", 1).args[1]()

    assert module._folder.path == file.parent / "links/keys"


def test_everything_that_is_wrong_with_its_options_is_told_at_once(tmp_path: Path) -> None:
    file = made(tmp_path, "folder")
    text = file.read_text().replace("[link.options]", "round_s = 1\n[link.options]")
    wrong = 'poll_s = 0\nfodler = "keys"\nnested = { a = [1] }\n'
    file.write_text(text.replace('folder = "keys"', wrong))

    found = problems(file)

    assert found.keys() == {
        "link[0].round_s",
        *(f"link[0].options.{it}" for it in ("poll_s", "fodler", "folder", "nested")),
    }
    assert found["link[0].options.folder"] == "is missing"


def test_what_its_factory_finds_wrong_with_its_files_is_told(tmp_path: Path) -> None:
    file = made(tmp_path, "folder")
    (file.parent / "keys").chmod(0o750)

    assert problems(file)["link[0].options"].endswith(f"chmod 700 {file.parent / 'keys'}")
    assert load(file, files=False).links

    file = made(tmp_path / "bare", "folder", bare=True)
    (file.parent / "links/keys").rmdir()
    assert "No such file" in problems(file)["options"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("fodler", "there is no fodler"),
        ("qkd_none:factory", "qkd_none:factory cannot be imported: ModuleNotFoundError"),
        ("qkd_folder:none", "qkd_folder:none cannot be imported: AttributeError"),
        ("qkd_broken:factory", "qkd_broken:factory cannot be imported: SystemExit: no driver"),
        ("qkd_bad:plain", "qkd_bad:plain is no factory"),
        ("qkd_folder:BLOCK_MAX", "qkd_folder:BLOCK_MAX is no factory"),
        ("no name", "does not match"),
    ],
)
@pytest.mark.parametrize("bare", [False, True])
def test_a_module_that_cannot_be_had_is_told_with_the_reason(
    tmp_path: Path, name: str, reason: str, bare: bool
) -> None:
    file = made(tmp_path, "folder", bare=bare)
    file.write_text(file.read_text().replace('"folder"', f'"{name}"'))

    found = problems(file)["interface[0].module" if bare else "link[0].module"]

    assert reason in found or name == "no name"


@pytest.mark.parametrize(
    ("name", "key", "reason"),
    [
        ("qkd_bad:odd", "link[0].options", "cannot be read by qkd_bad:odd"),
        ("qkd_bad:factory", "link[0].options", "low is more than high"),
    ],
)
def test_options_that_contradict_each_other_or_cannot_be_read_are_told(
    tmp_path: Path, name: str, key: str, reason: str
) -> None:
    file = made(tmp_path, "qkd_bad:factory", low=1)
    own = "which = 1" if name.endswith("odd") else "low = 5"
    file.write_text(file.read_text().replace("qkd_bad:factory", name).replace("low = 1", own))

    assert reason in problems(file)[key]


def test_an_unknown_key_and_a_contradiction_are_told_together(tmp_path: Path) -> None:
    file = made(tmp_path, "qkd_bad:factory", low=1)
    file.write_text(file.read_text().replace("low = 1", "low = 5\nmore = 1"))

    assert problems(file) == {
        "link[0].options.more": "is an unknown key",
        "link[0].options": "low is more than high",
    }


@pytest.mark.parametrize(
    ("low", "high", "reason"),
    [
        (0, 3, "fails: KeyError at qkd_bad.py"),
        (2, 3, "gives nothing that makes modules"),
        (3, 3, "gives nothing"),
        (1, 9, "fails: SystemExit at qkd_bad.py"),
    ],
)
def test_a_factory_that_fails_costs_nothing_but_its_link(
    tmp_path: Path, low: int, high: int, reason: str
) -> None:
    file = made(tmp_path, "qkd_bad:factory", low=low, high=high)

    assert reason in problems(file)["link[0].options"]
    with pytest.raises(ConfigError, match=reason):
        link_child(load(file, files=False).links[0])


def test_two_packages_with_one_name_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "other/other-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[protokms.modules]\nfolder = qkd_bad:factory\n")
    monkeypatch.syspath_prepend(tmp_path / "other")

    with pytest.raises(plugins.NotThere, match="several packages") as why:
        plugins.find("folder", plugins.MODULES)

    assert why.value.remedy == "write one of qkd_bad:factory, qkd_folder:factory"


def test_our_own_kinds_have_no_such_table(tmp_path: Path) -> None:
    file = made(tmp_path, "folder")
    file.write_text(file.read_text().replace('"folder"', '"emulated"'))
    assert "is for a module of another package" in problems(file)["link[0].options"]

    file = made(tmp_path / "bare", "folder", bare=True)
    file.write_text(file.read_text().replace('"folder"', '"etsi014"'))
    assert "bound for good" in problems(file)["interface[0].module"]


def test_a_topology_names_it_and_says_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "town.toml"
    rows = '[[node]]\nname = "a"\n[[node]]\nname = "b"\n[[link]]\na = "a"\nb = "b"\n'
    file.write_text(f'{rows}module = "folder"\noptions = {{ folder = "keys" }}\n')

    (link,) = topology.parse(str(file)).links
    assert (link.kind, link.options()) == ("folder", {})

    file.write_text(f'{rows}module = "folder"\nrate_bit_s = 5e3\noptions = {{ poll_s = 99 }}\n')
    with pytest.raises(ConfigError) as why:
        topology.parse(str(file))
    assert {it.key for it in why.value.problems} == {
        "link[0].rate_bit_s",
        "link[0].options.poll_s",
        "link[0].options.folder",
    }


def test_a_bundle_has_the_files_that_its_options_name_and_its_folders_empty(tmp_path: Path) -> None:
    named: dict[str, Any] = {
        "key": "device.key",
        "more": ["a.crt", "none.crt"],
        "tables": [{"ca": "sub/ca.crt"}],
        "folder": "keys",
        "socket": "/dev/null",
    }
    home = made(tmp_path, "qkd_bad:filed", **named).parent
    (home / "sub").mkdir()
    for name in ("device.key", "a.crt", "sub/ca.crt", "keys/7.key"):
        (home / name).write_text(name)

    file = bundle.export(tmp_path / "lab", "kms-1", tmp_path / "it.tar")
    there = bundle.join(file, tmp_path / "there").config.parent

    assert [(there / it).read_text() for it in ("device.key", "a.crt", "sub/ca.crt")] == [
        "device.key",
        "a.crt",
        "sub/ca.crt",
    ]
    assert stat.S_IMODE((there / "keys").stat().st_mode) == 0o700
    assert list((there / "keys").iterdir()) == []


@pytest.mark.parametrize("bare", [False, True])
def test_a_lab_with_the_module_of_the_example_is_exported_and_joined(
    tmp_path: Path, bare: bool
) -> None:
    made(tmp_path, "folder", bare=bare)

    file = bundle.export(tmp_path / "lab", "kms-1", tmp_path / "it.tar")

    assert find_problems(bundle.join(file, tmp_path / "there").config) == []


def test_a_file_of_its_options_that_lies_elsewhere_is_not_bundled_in_silence(
    tmp_path: Path,
) -> None:
    (tmp_path / "device.key").write_text("x")
    made(tmp_path, "qkd_bad:filed", key=str(tmp_path / "device.key"))

    with pytest.raises(LabError, match=r"device\.key lies outside .*; copy it by hand"):
        bundle.export(tmp_path / "lab", "kms-1", tmp_path / "it.tar")


def test_the_files_of_actors_are_bundled_too(tmp_path: Path) -> None:
    row = 'name = "one"\nkind = "qkd_bad:acts"\noptions = { key = "actor.key" }'
    file = with_actors(tmp_path, row)
    (file.parent / "actor.key").write_text("x")

    assert file.parent / "actor.key" in lab.files_of(load(file, files=False))


def with_actors(home: Path, *rows: str) -> Path:
    """Return the file of a node with these actors."""
    file = made(home, "folder")
    file.write_text(file.read_text() + "".join(f"[[actor]]\n{row}\n" for row in rows))
    return file


def test_an_actor_of_another_package_is_made_with_its_options(tmp_path: Path) -> None:
    rows = 'name = "one"\nkind = "examples.actor.kms_echo:factory"\noptions = { peers = ["kms-2"] }'
    config = load(with_actors(tmp_path, rows))

    found = own_actors.made(config.actors, config.path)

    assert found["one"].args[0].peers == ["kms-2"]
    assert found["one"].words() == ("echo.ask/1",)


def test_everything_that_is_wrong_with_such_actors_is_told_at_once(tmp_path: Path) -> None:
    file = with_actors(
        tmp_path,
        'name = "one"\nkind = "examples.actor.kms_echo:factory"\n'
        "options = { every_s = 0, more = 1 }",
        'name = "one"\nkind = "folder"',
        'name = "NO NAME"\nkind = "examples.actor.kms_echo:factory"',
        'name = "two"\nkind = "qkd_none:factory"',
    )

    assert problems(file).keys() == {
        "actor[0].options.every_s",
        "actor[0].options.more",
        "actor[1].kind",
        "actor[1].name",
        "actor[2].name",
        "actor[3].kind",
    }


def test_an_actor_is_what_its_factory_returns_and_has_words_of_its_own(tmp_path: Path) -> None:
    file = with_actors(
        tmp_path,
        'name = "one"\nkind = "examples.actor.kms_echo:factory"',
        'name = "two"\nkind = "examples.actor.kms_echo:factory"',
        'name = "three"\nkind = "qkd_bad:factory"\noptions = { low = 1 }',
        'name = "four"\nkind = "qkd_bad:silent"',
    )

    found = problems(file)

    assert found["actor[1].kind"] == "echo.ask/1 is heard by own/one already"
    assert "actor[2].options" in found  # that factory wants a role
    assert found["actor[3].options"] == "qkd_bad:silent gives nothing"


def test_what_the_page_shows_stands_in_the_example() -> None:
    page = (HOME.parents[1] / "docs/modules.md").read_text(encoding="utf-8")
    section = page[page.index("## A module of your own") : page.index("**The methods**")]
    shown = [
        line
        for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL)
        for line in block.splitlines()
    ]
    written = (HOME / "qkd_folder.py").read_text(encoding="utf-8").splitlines()

    assert len(shown) >= 10
    assert set(shown) <= set(written)
