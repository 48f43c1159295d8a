"""Files, folders and names in the code that the documents name exist."""

import ast
import builtins
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
TOP = ("actors", "deploy", "docs", "etsi", "protokms", "examples", "tests", "transport")
CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(rf"(?<![\w./-])((?:{'|'.join(TOP)})/[\w./*@-]*|[\w*]+\.py)(?![\w/])")
OWN = {"my_module.py", "setup.py"}
"""Names of files that a reader is told to write."""
MERMAID = re.compile(r"```mermaid\n(.*?)```", re.DOTALL)
CLASS = re.compile(r"\b[A-Z][a-z]+(?:[A-Z][a-z]+)+\b")
OTHER = {"MemoryMax", *dir(builtins)}
"""Names of this form that are not ours."""
DECIDED_AT_LEAST = 20
"""Lines of "Where is X decided?" in docs/architecture.md."""


def named(page: Path) -> set[str]:
    return {
        path.rstrip(".") for code in CODE.findall(page.read_text()) for path in PATH.findall(code)
    }


@pytest.mark.parametrize(
    "page", [p for p in PAGES if p.name != "CHANGELOG.md"], ids=lambda p: p.name
)
def test_what_a_page_names_is_there(page: Path) -> None:
    missing = [
        path
        for path in sorted(named(page) - OWN)
        if not any(ROOT.glob(path) if "/" in path else _anywhere(path))
    ]

    assert not missing


def _anywhere(name: str) -> list[Path]:
    return [path for top in TOP for path in ROOT.glob(f"{top}/**/{name}")]


def decided() -> list[tuple[str, str, list[str]]]:
    """Read the table: a question, a file, and the names of what decides there."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    section = text.partition("## Where is X decided?")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:2] == "| "]
    return [(ask, file.strip("`"), CODE.findall(names)) for ask, file, names in rows[1:]]


def declared(body: Iterable[ast.AST]) -> dict[str, ast.AST]:
    """Return what a module or a class declares, by name."""
    found: dict[str, ast.AST] = {}
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            inside = [it for target in targets for it in ast.walk(target)]
            found |= {it.id: node for it in inside if isinstance(it, ast.Name)}
    return found


def has(file: str, name: str) -> bool:
    """Whether a file declares `NAME`, `function`, `Class`, or `Class.method`."""
    names = declared(ast.parse((ROOT / file).read_text()).body)
    outer, _, inner = name.partition(".")
    if not inner:
        return outer in names
    cls = names.get(outer)
    return isinstance(cls, ast.ClassDef) and inner in declared(cls.body)


def test_it_is_told_where_many_things_are_decided() -> None:
    assert len(decided()) >= DECIDED_AT_LEAST


@pytest.mark.parametrize(("ask", "file", "names"), decided(), ids=[it[0] for it in decided()])
def test_what_decides_is_there(ask: str, file: str, names: list[str]) -> None:
    assert names, ask
    assert [name for name in names if not has(file, name)] == []


def classes() -> set[str]:
    """Return the names of all classes of the code."""
    files = [path for top in TOP for path in ROOT.glob(f"{top}/**/*.py")]
    return {
        name for file in files for name in re.findall(r"^ *class (\w+)", file.read_text(), re.M)
    }


def test_the_classes_that_the_pages_name_are_there() -> None:
    texts = [page.read_text() for page in PAGES if page.name != "CHANGELOG.md"]
    spans = [span for text in texts for span in (*CODE.findall(text), *MERMAID.findall(text))]
    known = classes()

    assert {name for span in spans for name in CLASS.findall(span)} - known - OTHER == set()
