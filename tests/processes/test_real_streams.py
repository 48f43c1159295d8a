"""Two nodes whose bits come from a key stream by ETSI 004, connected as docs/modules.md says."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.kit.authority import Authority
from tests.kit.faulty_stream import FaultyStream, Streams
from tests.processes.real_lab import RealLab, eventually, exchange, pair

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NODES = ("kms-1", "kms-2")
PAGE = Path(__file__).parents[2] / "docs/modules.md"
LINK = re.compile(r"```toml\n(\[\[link\]\]\npeer = [^`]*?\[link\.etsi004\].*?)```", re.DOTALL)
"""The table that the page says to write."""


class Site:
    """Two nodes of a lab, and a device at each."""

    def __init__(self, folder: Path, devices: list[FaultyStream], authority: Authority) -> None:
        self.lab, self.devices, self.authority = RealLab(folder / "lab", pair()), devices, authority
        self.lab.configure("store", max_bits=1 << 30)  # never full here
        for end, role in enumerate(("sender", "receiver")):
            self._connect(end, role)

    def _connect(self, end: int, role: str) -> None:
        found = LINK.search(PAGE.read_text(encoding="utf-8"))
        assert found
        link, pki = found[1], self.authority.folder
        for name, value in {
            "peer": NODES[1 - end],
            "role": role,
            "url": self.devices[end].url,
            "source": f"client://{NODES[end]}",
            "destination": f"client://{NODES[1 - end]}",
            "certificate": f"{pki}/ours.crt",
            "key": f"{pki}/ours.key",
            "ca": str(self.authority.path),
        }.items():
            link, changed = re.subn(rf'(?m)^{name} = "[^"]*"', f'{name} = "{value}"', link)
            assert changed == 1, name
        file = self.lab.folder / NODES[end] / "node.toml"
        text, changed = re.subn(r"(?ms)^\[\[link\]\].*?(?=^\[|\Z)", link, file.read_text())
        assert changed == 1
        file.write_text(text)

    def streams(self) -> int:
        """How many streams were ever read."""
        return len(self.devices[0].streams.streams)

    def more_than(self, number: int) -> bool:
        """Whether more streams than that were ever read."""
        return self.streams() > number

    def decided(self, how: str) -> float:
        """How many batches the sender, kms-1, has decided so since its start."""
        return self.lab.metric(NODES[0], "protokms_batches_decided_total", decision=how)

    def confirmed(self, more: int) -> None:
        """Wait until so many more batches are the same at both ends."""
        least = self.decided("confirmed") + more
        eventually(lambda: self.decided("confirmed") >= least, "batches are confirmed")

    def quiet(self, node: str) -> str:
        """Why no key comes to a node; empty if some does."""
        found = re.search(r"quiet: [^\"]*", self.lab.look(node, "/ready"))
        return found[0] if found else ""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "pki").mkdir()
    authority = Authority(tmp_path / "pki")
    authority.issue("ours")
    (authority.folder / "ours.key").chmod(0o600)
    streams = Streams()
    streams.chunks = 1 << 32
    with ExitStack() as open_:
        devices = []
        for name in ("near", "far"):
            authority.issue(name, dns=("localhost",))
            devices.append(open_.enter_context(FaultyStream(authority, streams, name)))
            devices[-1].largest, devices[-1].pause_s = 1024, 0.002
        made = Site(tmp_path, devices, authority)
        try:
            yield made
        finally:
            made.lab.down()


def test_a_key_stream_fills_both_stores_and_a_start_of_either_end_begins_another(
    site: Site,
) -> None:
    site.lab.up()
    site.lab.await_keys()
    with site.lab.client("sae-1") as near, site.lab.client("sae-2") as far:
        assert len(exchange(near, far, 32)) == 32

    for node in reversed(NODES):
        before = site.streams()
        site.lab.kill(node)
        site.lab.start(node)
        eventually(partial(site.more_than, before), "another stream is begun")
        site.lab.await_keys()

    site.confirmed(1)  # after what a killed node had not decided, which is discarded (R2)
    discarded = site.decided("discarded")
    site.confirmed(5)
    assert site.decided("discarded") == discarded
    with site.lab.client("sae-1") as near, site.lab.client("sae-2") as far:
        assert len(exchange(near, far, 32)) == 32
    for node in NODES:
        assert "actor_crashed" not in site.lab.events(node)


def test_a_stream_that_ends_and_a_device_that_is_lost_are_told_and_come_back(site: Site) -> None:
    site.lab.up()
    site.lab.await_keys()
    near, far = site.devices

    far.wrong = lambda _, __: b""  # no status at all
    eventually(lambda: "no status" in site.quiet("kms-2"), "the link says what its device does")
    far.wrong = lambda _, body: body
    eventually(lambda: not site.quiet("kms-2"), "key comes again")

    before = site.streams()
    for device in (near, far):
        device.forget()
        device.hang_up()
    eventually(partial(site.more_than, before), "another stream is begun")
    eventually(lambda: not (site.quiet("kms-1") or site.quiet("kms-2")), "key comes again")
    with site.lab.client("sae-1") as one, site.lab.client("sae-2") as other:
        assert len(exchange(one, other, 32)) == 32
