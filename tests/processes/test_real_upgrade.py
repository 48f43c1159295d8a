"""A lab of the first release is upgraded node by node, while SAEs ask for keys: nothing is lost."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.client import HTTPException
from pathlib import Path

import pytest

from protokms.client import SaeClient, SaeError, SaeKey
from protokms.lab import processes as lab_processes
from protokms.lab import run as lab_run
from tests.processes.real_lab import PATIENCE_S, ROOT, RealLab, eventually

pytestmark = [pytest.mark.slow, pytest.mark.soak]

FIRST = "737f546"
"""The revision that is 0.1.0."""

PAUSE_S = 0.05
SLAVES = ("sae-2", "sae-3")
"""Of a neighbour, and of a KMS beyond it."""


class Load:
    """An SAE that asks for keys as long as it is told to; `given` are those that it got."""

    def __init__(self, lab: RealLab) -> None:
        self._lab, self._ended = lab, threading.Event()
        self.given: dict[str, list[SaeKey]] = {slave: [] for slave in SLAVES}
        self._thread = threading.Thread(target=self._run, name="load")

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(PAUSE_S):
            with suppress(SaeError, OSError, HTTPException), self._lab.client("sae-1") as client:
                while not self._ended.wait(PAUSE_S):
                    for slave in SLAVES:
                        with suppress(SaeError):  # one of both may be away
                            self.given[slave] += client.enc_keys(slave, 1)


@pytest.fixture
def old(tmp_path: Path) -> Iterator[RealLab]:
    """Three nodes in a row that run as the first release."""
    packed = subprocess.run(
        ["git", "archive", FIRST], cwd=ROOT, capture_output=True, check=False, timeout=60
    )
    if packed.returncode:
        pytest.skip(f"this clone does not have the revision {FIRST}")
    code, folder = tmp_path / "code", tmp_path / "lab"
    code.mkdir()
    subprocess.run(["tar", "-x", "-C", str(code)], input=packed.stdout, check=True, timeout=60)
    first = [sys.executable, "-P", "-m", "protokms", "lab"]
    its = os.environ | {"PYTHONPATH": str(code)}
    for args in (["init", str(folder), "--topology", "chain:3"], ["up", str(folder)]):
        subprocess.run([*first, *args], env=its, cwd=code, check=True, timeout=2 * PATIENCE_S)
    made = RealLab(folder)
    try:
        yield made
    finally:
        made.down()


def asked(client: SaeClient, slave: str) -> list[SaeKey]:
    """Ask for keys; none, if they are refused now."""
    with suppress(SaeError):
        return client.enc_keys(slave, 4)
    return []


def code_of(lab: RealLab, node: str) -> str:
    """Where the process of a node has its code from."""
    environ = Path(f"/proc/{lab.process(node).pid}/environ").read_bytes().decode().split("\0")
    return next(it for it in environ if it.startswith("PYTHONPATH="))


def test_nodes_are_upgraded_one_by_one_under_load(old: RealLab, tmp_path: Path) -> None:
    assert all(str(tmp_path / "code") in code_of(old, node) for node in old.nodes)
    before: dict[str, list[SaeKey]] = {}
    with old.client("sae-1") as client:
        for slave in SLAVES:
            # The first release makes a session when keys are asked for, and not before.
            before[slave] = eventually(partial(asked, client, slave), f"keys for {slave}")
    with Load(old) as load:
        for node in old.nodes:
            counts = {slave: len(given) for slave, given in load.given.items()}
            lab_processes.stop_all([old.process(node)], PATIENCE_S)
            state = lab_run.start(old.folder, node, PATIENCE_S)
            assert not state.reasons, (state.reasons, state.log)
            assert str(tmp_path / "code") not in code_of(old, node)
            for slave in SLAVES:
                eventually(
                    lambda: len(load.given[slave]) > counts[slave] + 4,  # noqa: B023 -- asked now
                    f"{node} is new: keys for {slave} go on",
                )
    for slave in SLAVES:
        keys = [*before[slave], *load.given[slave]]
        assert len({key.key_id for key in keys}) == len(keys)
        with old.client(slave) as client:
            got = [client.dec_keys("sae-1", [key.key_id])[0] for key in keys]
        assert got == keys
    for node in old.nodes:
        assert "actor_crashed" not in old.events(node)
