"""Labs over several hosts for tests: who may make them, and in which network."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs

from protokms.lab import netns
from protokms.lab import processes as lab_processes
from protokms.lab.topology import LinkPlan, NodePlan, ProcessPlan, Topology
from tests.processes.real_lab import RealLab

IP_S = 10.0


def need_hosts() -> None:
    """Skip the test where no network namespaces can be made, and say why."""
    if os.geteuid() != 0:
        pytest.skip("only root makes network namespaces")
    tool = shutil.which("ip")
    if not tool:
        pytest.skip("there is no `ip` (iproute2) here")
    name = f"protokms-{os.getpid()}"
    made = subprocess.run([tool, "netns", "add", name], capture_output=True, check=False, text=True)
    if made.returncode:
        pytest.skip(f"this machine allows no network namespace: {made.stderr.strip()}")
    subprocess.run([tool, "netns", "del", name], check=True)


def network() -> Callable[[int], str]:
    """Return what makes an address of a number, in a network of this process (RFC 6598)."""
    number = os.getpid() % (1 << 14)
    return f"100.{64 + number // 256}.{number % 256}.{{}}".format


def spread_over_two(address: Callable[[int], str]) -> Topology:
    """Return two nodes on three hosts: the front end of kms-1 is on the second."""
    front = ProcessPlan(name="front", actors=["etsi014"], host=address(2))
    homes = [
        NodePlan(name=f"kms-{n}", host=address(home), metrics=address(home), saes=[f"sae-{n}"])
        for n, home in ((1, 1), (2, 3))
    ]
    homes[0] = structs.replace(homes[0], processes=[front])
    link = LinkPlan(a="kms-1", b="kms-2", rate_bit_s=2e6, allow_insecure_emulation=True)
    return Topology(nodes=homes, links=[link])


def left_of(folder: Path) -> list[str]:
    """Return what is there of the hosts of a lab: namespaces, devices, files, processes."""
    made = netns.read(folder)
    tag = made.tag if made else netns.tag_of(folder)
    lists = (["netns", "list"], ["-o", "link", "show"])
    rows = [row for args in lists for row in _ip(*args).splitlines() if tag in row]
    files = [name for name in (netns.FILE, "wire.pid") if (folder / name).exists()]
    return [*rows, *files, *map(str, Path("/etc/netns").glob(f"*{tag}*"))]


def kill_all(lab: RealLab) -> None:
    """SIGKILL every process of a lab, its wire among them, as `kill -9` of everything would."""
    files = [*lab.folder.glob("*/pid*"), lab.folder / "wire.pid"]
    lab_processes.kill_all([one for one in map(lab_processes.running, files) if one])


def _ip(*args: str) -> str:
    done = subprocess.run(["ip", *args], capture_output=True, check=True, text=True, timeout=IP_S)
    return done.stdout
