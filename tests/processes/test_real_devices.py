"""Two nodes whose bits come from two others by ETSI 014, as from a pair of QKD devices."""

import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.real_history import Down, check
from tests.processes.real_lab import RealLab, eventually, exchange, pair, protokms
from tests.processes.real_load import Load

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NODES = ("kms-1", "kms-2")
REDELIVERY_S = 30.0
SEED = 14
PAGE = Path(__file__).parents[2] / "docs/modules.md"
LINK = re.compile(r"```toml\n(\[\[link\]\]\npeer = .*?\[link\.etsi014\].*?)```", re.DOTALL)
"""The table that the page says to write."""


class Stack:
    """A lab, and below it another one whose nodes are its devices."""

    def __init__(self, folder: Path, *roles: str) -> None:
        self.devices = RealLab(folder / "devices", pair(rate_bit_s=6e6))
        self.upper = RealLab(folder / "upper", pair())
        for end, (node, role) in enumerate(zip(NODES, roles, strict=True), 1):
            self._connect(end, node, role)

    def _connect(self, end: int, node: str, role: str) -> None:
        """Let the one link of a node begin at the device of its site."""
        below, file = self.devices, self.file(node)
        found = LINK.search(PAGE.read_text(encoding="utf-8"))
        assert found
        link, saes = found[1], below.folder / "saes"
        for name, value in {
            "peer": NODES[2 - end],
            "role": role,
            "url": below.made.node(node).etsi014,
            "far_sae": f"sae-{3 - end}",
            "certificate": f"{saes}/sae-{end}.crt",
            "key": f"{saes}/sae-{end}.key",
            "ca": f"{below.folder / below.made.ca}",
        }.items():
            link, changed = re.subn(rf'(?m)^{name} = "[^"]*"', f'{name} = "{value}"', link)
            assert changed == 1, name
        text, changed = re.subn(r"(?ms)^\[\[link\]\].*?(?=^\[|\Z)", link, file.read_text())
        assert changed == 1
        file.write_text(text)

    def file(self, node: str) -> Path:
        """Return the configuration of a node that asks a device."""
        return self.upper.folder / node / "node.toml"

    def up(self) -> None:
        """Start the devices, then those that ask them."""
        self.devices.up()
        self.devices.await_keys()
        self.upper.up()
        self.upper.await_keys()

    def down(self) -> None:
        """End all four."""
        self.upper.down()
        self.devices.down()


@pytest.fixture
def stack(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stack]:
    made = Stack(tmp_path, *request.param)
    yield made
    made.down()


@pytest.mark.parametrize("stack", [("sender", "receiver")], indirect=True)
def test_keys_of_a_pair_of_devices_are_keys_at_both_nodes(stack: Stack) -> None:
    for node in NODES:
        assert protokms("node", str(stack.file(node)), "--check").returncode == 0
    stack.up()

    with stack.upper.client("sae-1") as near, stack.upper.client("sae-2") as far:
        assert len(exchange(near, far, 32)) == 32
    assert stack.upper.metric("kms-1", "protokms_link_octets_total", way="sent") > 0
    assert stack.upper.metric("kms-2", "protokms_link_octets_total", way="received") > 0
    for node in NODES:
        assert stack.upper.metric(node, "protokms_batches_decided_total", decision="discarded") == 0


@pytest.mark.parametrize("stack", [("sender", "receiver")], indirect=True)
def test_a_device_that_is_away_is_told_and_comes_back(stack: Stack) -> None:
    stack.up()

    stack.devices.kill("kms-1")
    refused = "quiet: Connection refused"  # a connection that was open is reset before
    eventually(lambda: quiet(stack, "kms-1").startswith(refused), "the link says why")
    listed = protokms("link", "list", "--config", str(stack.file("kms-1")), "--json")
    assert refused.encode() in listed.stdout
    with stack.upper.client("sae-1") as near, stack.upper.client("sae-2") as far:
        assert exchange(near, far, 1)  # of what was in store

    stack.devices.start("kms-1")
    eventually(lambda: not quiet(stack, "kms-1"), "keys come again")


@pytest.mark.parametrize("stack", [("both", "both")], indirect=True)
def test_each_of_four_killed_under_load_breaks_no_promise(stack: Stack) -> None:
    dice = random.Random(SEED)
    stack.upper.configure("store", redelivery_s=REDELIVERY_S)
    stack.up()
    load = Load(stack.upper, threads=2, seed=SEED)
    downs: list[Down] = []
    load.start()
    try:
        for lab, node in 2 * [
            (lab, node) for lab in (stack.upper, stack.devices) for node in NODES
        ]:
            load.await_progress(dice.randint(1, 25))
            down = Down(node, time.monotonic())
            lab.kill(node)
            down.gone = time.monotonic()
            lab.start(node)
            down.until = time.monotonic()
            downs += [down] if lab is stack.upper else []
        load.await_progress(20)
    finally:
        load.stop()
    stack.upper.await_keys()
    load.settle(again=10_000)

    found = check(load.ops, downs, REDELIVERY_S, "confirmed")

    assert found.delivered
    for node in NODES:
        assert stack.upper.metric(node, "protokms_alarms_total") == 0
        assert "actor_crashed" not in stack.upper.events(node)
        assert stack.upper.metric(node, "protokms_link_octets_total", way="sent") > 0


def quiet(stack: Stack, node: str) -> str:
    """Why no key comes to a node; empty if some do."""
    said = stack.upper.look(node, "/ready")
    found = re.search(r"quiet: [^\"]*", said)
    return found[0] if found else ""
