"""The commands of docs/hosts.md, run as they stand there: on one machine, and on three hosts."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from protokms.lab import hosts, lab, netns, topology
from protokms.lab import processes as lab_processes
from protokms.lab import run as lab_run
from protokms.lab.processes import Running
from protokms.lab.wire import Conditions
from tests.processes.real_lab import PATIENCE_S, RealLab, drawn
from tests.processes.real_netns import left_of, need_hosts, network

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs/hosts.md"
COMMAND = re.compile(r"^(host-\d)?\$ (.*)$", re.MULTILINE)
PLACES = {"host-1": "kms-1", "host-2": "kms-1/front", "host-3": "kms-2"}
COMMANDS = (10, 15)
"""How many there are on one machine, and on the hosts."""


class Walk:
    """A folder for each host, and what runs the commands of the page there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.page = PAGE.read_text()
        for number in (1, 2, 3):
            self.page = self.page.replace(f"192.0.2.{number}", network()(number))
        blocks = re.findall(r"```console\n(.*?)```", self.page, re.DOTALL)
        self.lines = [found for block in blocks for found in COMMAND.findall(block)]
        (self.toml,) = re.findall(r"```toml\n(.*?)```", self.page, re.DOTALL)
        self.running: list[Running] = []

    def home(self, host: str) -> Path:
        """The folder where somebody at that host works."""
        made = self.folder / (host or "machine")
        made.mkdir(exist_ok=True)
        return made

    def run(self, host: str, line: str, prefix: Sequence[str] = ()) -> str:
        """Run one line with a shell; it is good."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            [*prefix, shutil.which("bash") or "bash", "-c", line],
            cwd=self.home(host),
            env=os.environ | {"PATH": path},
            capture_output=True,
            check=False,
            text=True,
            timeout=2 * PATIENCE_S,
        )
        assert not done.returncode, f"{host}$ {line}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    need_hosts()
    made = Walk(tmp_path)
    try:
        yield made
    finally:
        lab_processes.stop_all(made.running, PATIENCE_S / 3)
        for file in tmp_path.glob("*/*/lab.json"):
            lab_run.down(file.parent, PATIENCE_S / 3)


def test_every_command_of_the_page_is_read(walk: Walk) -> None:
    here = [line for host, line in walk.lines if not host]

    assert (len(here), len(walk.lines) - len(here)) == COMMANDS


def test_all_of_it_on_one_machine(walk: Walk) -> None:
    (walk.home("") / "three.toml").write_text(walk.toml)
    for host, line in walk.lines:
        if host:
            continue
        if " sae enc " in line:
            made = RealLab(walk.home("") / "lab")
            with made.client("sae-1") as near, made.client("sae-2") as far:
                keys = drawn(near, "sae-2", 2)
                assert far.dec_keys("sae-1", [key.key_id for key in keys]) == keys
        walk.run("", line)

    assert not left_of(walk.home("") / "lab")


def test_all_of_it_on_three_hosts(walk: Walk) -> None:
    (walk.home("host-1") / "three.toml").write_text(walk.toml)
    shape = topology.parse(str(walk.home("host-1") / "three.toml"))
    lab.init(walk.home("host-1") / "lab", shape)
    wires = walk.folder / "wires/lab"
    lab.init(wires, shape)  # its hosts, and nothing else of it, are used
    made = netns.make(wires, Conditions(delay_s=0.05, loss=0.02), "tap")
    for host, line in walk.lines:
        if not host:
            continue
        carried = re.fullmatch(r"scp (\S+) (host-\d):", line)
        if carried:
            shutil.copy2(walk.home(host) / carried[1], walk.home(carried[2]) / carried[1])
        elif line.endswith(" &"):
            args = lab_processes.protokms(*line.removesuffix(" &").split()[1:])
            args[-1] = str(walk.home(host) / args[-1])
            command = made.command(PLACES[host], args)
            log, pid = walk.home(host) / "log", walk.home(host) / "pid"
            walk.running.append(lab_processes.start(command, log, pid))
        else:
            if " sae enc " in line:
                whole = RealLab(walk.home("host-1") / "lab")
                with whole.client("sae-1") as near, whole.client("sae-2") as far:
                    keys = drawn(near, "sae-2", 2)
                    assert far.dec_keys("sae-1", [key.key_id for key in keys]) == keys
            walk.run(host, line, made.command(PLACES[host], []))


def test_the_lab_of_the_page_is_on_three_hosts(walk: Walk) -> None:
    (walk.home("") / "three.toml").write_text(walk.toml)
    made = lab.init(walk.home("") / "lab", topology.parse(str(walk.home("") / "three.toml")))

    assert len(hosts.find(walk.home("") / "lab", made).addresses) == 3
