"""docs/metrics.md lists what the code counts, all of it and nothing else."""

import re
from pathlib import Path

from protokms.node.metric_help import HELP
from tests.kit.help_texts import texts

ROOT = Path(__file__).parents[3]
ROOMS = ("transport", "actors", "etsi", "protokms")
COUNTED = re.compile(r'(?:\.(?:add|cell|set)\(\s*|\[\(?|, \()"(protokms_[a-z0-9_]+)"')
LINK = re.compile(r'_host\.(?:count|gauge)\(\s*"([a-z_]+)"')


def counted() -> set[str]:
    found: set[str] = set()
    for room in ROOMS:
        for file in (ROOT / room).rglob("*.py"):
            text = file.read_text()
            found |= set(COUNTED.findall(text))
            found |= {f"protokms_link_{name}" for name in LINK.findall(text)}
    return found


def listed() -> set[str]:
    text = (ROOT / "docs/metrics.md").read_text()
    return {name.removesuffix("_total") for name in re.findall(r"`(protokms_[a-z0-9_]+)`", text)}


def test_every_metric_is_documented() -> None:
    assert counted() - listed() == set()


def test_every_documented_metric_exists() -> None:
    assert listed() - counted() == set()


def test_every_metric_has_the_help_of_the_page() -> None:
    assert texts() == HELP  # else: python -m tests.kit.help_texts
