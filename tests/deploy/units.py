"""The unit files of deploy/systemd, as text."""

import shutil
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "deploy/systemd"
NODE = FOLDER / "protokms@.service"
PROCESS = FOLDER / "protokms-process@.service"

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="needs systemd's tools, as .ci/run installs them",
)


def settings(unit: Path, section: str) -> list[tuple[str, str]]:
    """Return every key of a section with its value, in the order in which they stand."""
    (text,) = [part for part in unit.read_text().split("\n[") if part.startswith(f"{section}]")]
    lines = [line for line in text.splitlines()[1:] if line and not line.startswith("#")]
    return [(key, value) for key, _, value in (line.partition("=") for line in lines)]


def values(unit: Path, key: str) -> list[str]:
    """Return all words that `[Service]` gives for a key, over all its lines."""
    return [
        word for name, text in settings(unit, "Service") if name == key for word in text.split()
    ]
