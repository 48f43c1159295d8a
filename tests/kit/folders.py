"""Two devices that leave blocks of key in folders, and the module of examples/ that takes them."""

import random
import tomllib
from collections.abc import Callable
from pathlib import Path

from examples.module.qkd_folder import Watch
from protokms.testing.agenda import Agenda

EXAMPLES = Path(__file__).parents[2] / "examples"
HOME, ACTOR = EXAMPLES / "module", EXAMPLES / "actor"
BLOCK = 4_096


def installed(package: Path, to: Path) -> Path:
    """Make what an installation of a package leaves: its files, and its entry points."""
    told = tomllib.loads((package / "pyproject.toml").read_text())
    project = told["project"]
    info = to / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    name, version = project["name"], project["version"]
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    rows = [
        line
        for group, points in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{key} = {value}" for key, value in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join([*rows, ""]))
    for module in told["tool"]["setuptools"]["py-modules"]:
        (to / f"{module}.py").write_bytes((package / f"{module}.py").read_bytes())
    return to


class Devices:
    """Both devices: each block goes into both folders, under the next number."""

    def __init__(self, *folders: Path) -> None:
        self.folders, self.dice, self.number = folders, random.Random(21), 0
        self.given: list[bytes] = []
        for folder in folders:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def block(self, *blocks: bytes, number: int | None = None) -> None:
        """Leave a block: one drawn, or this, or one for each folder; empty: none there."""
        made = blocks or (self.dice.randbytes(BLOCK),)
        self.number = self.number + 1 if number is None else number
        each = made if len(made) == len(self.folders) else made * len(self.folders)
        for folder, octets in zip(self.folders, each, strict=True):
            if octets:
                part = folder / f"{self.number}.part"
                part.write_bytes(octets)
                part.rename(folder / f"{self.number}.key")
        self.given.append(made[0])


class Looks(Watch):
    """Looks so often, in the time of a cluster, in the place of a thread."""

    def __init__(self, agenda: Agenda, every_s: float = 0.2) -> None:
        super().__init__(every_s)
        self._agenda, self._next_s, self._stopped = agenda, every_s, False

    def start(self, look: Callable[[], None], broken: Callable[[str], None]) -> None:
        """Begin."""
        if not self._stopped:
            self._agenda.later(self._next_s, lambda: self._turn(look, broken))

    def stop(self) -> None:
        """End."""
        self._stopped = True

    def _turn(self, look: Callable[[], None], broken: Callable[[str], None]) -> None:
        if not self._stopped:
            look()
            self.start(look, broken)
