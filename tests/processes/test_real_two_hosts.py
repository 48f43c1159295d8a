"""Two processes of one node on two hosts: keys flow, a partition is `core_down`, and it heals."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import structs

from protokms.client import SaeClient, SaeError
from protokms.enrol.pki import Authority
from protokms.lab import bundle
from protokms.lab import processes as lab_processes
from protokms.lab.topology import LinkPlan, NodePlan, ProcessPlan, Topology
from tests.processes.real_hosts import Host
from tests.processes.real_lab import RealLab, drawn, eventually

pytestmark = pytest.mark.slow

CORE_DOWN = "503 the core of this KME is not reached now; ask again later"


class Divided:
    """kms-2 and the core of kms-1 there; the front end of kms-1 here, from a bundle of its own."""

    def __init__(self, folder: Path, host: Host) -> None:
        self.host, self.bundle = host, folder / "here"
        there = host.there
        nodes = [
            NodePlan(name=name, host=there, metrics=there, saes=[sae])
            for name, sae in (("kms-1", "sae-1"), ("kms-2", "sae-2"))
        ]
        front = ProcessPlan(name="front", actors=["etsi014"])
        nodes[0] = structs.replace(nodes[0], processes=[front])
        link = LinkPlan(a="kms-1", b="kms-2", rate_bit_s=2e6, allow_insecure_emulation=True)
        self.there = RealLab(folder / "there", Topology(nodes=nodes, links=[link]))
        self._move(folder)
        self.url = self.there.made.nodes[0].etsi014.replace(there, host.here)

    def _move(self, folder: Path) -> None:
        """Let the front end listen here, with a certificate of this host; pack what it needs."""
        home, host = self.there.folder / "kms-1", self.host
        file = home / "front.toml"
        own, _, rest = file.read_text().partition("[core]")
        rest = re.sub(rf'bind = "{re.escape(host.there)}', f'bind = "{host.here}', rest)
        file.write_text(f"{own.replace(host.there, host.here)}[core]{rest}")
        core = home / "node.toml"
        text, mark, row = core.read_text().partition("[[process]]")
        core.write_text(text + mark + row.replace(host.there, host.here))
        for name in ("tls.crt", "tls.key"):
            (home / name).unlink()
        self._authority().server(home / "tls.crt", home / "tls.key", "kms-1", "x", [host.here])
        file = bundle.export(self.there.folder, "kms-1", folder / "front.tar", "front")
        bundle.join(file, self.bundle, node="kms-1")
        for name in ("front.toml", "tls.key", "front.curve.key"):
            (home / name).unlink()

    def _authority(self) -> Authority:
        ca = self.there.folder / "ca"
        key = load_pem_private_key((ca / "ca.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return Authority(x509.load_pem_x509_certificate((ca / "ca.crt").read_bytes()), key)

    def start(self) -> None:
        """Start the three processes, the front end first: they may start in any order."""
        front = self.bundle / "kms-1/front.toml"
        args = lab_processes.protokms("node", str(front))
        self.front = lab_processes.start(args, self.bundle / "log", self.bundle / "pid")
        for node in self.there.nodes:
            home = self.there.folder / node
            args = lab_processes.protokms("node", str(home / "node.toml"), "--new")
            lab_processes.start(self.host.command(args), home / "log", home / "pid")

    def down(self) -> None:
        """End them."""
        if lab_processes.running(self.bundle / "pid"):
            lab_processes.stop_all([self.front], 30.0)
        self.there.down()

    def client(self, sae: str) -> SaeClient:
        """A connection of an SAE to its KMS."""
        return self.there.client(sae, self.url if sae == "sae-1" else "")


@pytest.fixture
def divided(tmp_path: Path) -> Iterator[Divided]:
    with Host() as host:
        made = Divided(tmp_path, host)
        made.start()
        yield made
        made.down()


def said(client: SaeClient) -> str:
    """Return what the SAE hears of the state of its keys: none, or how it is refused."""
    try:
        client.status("sae-2")
    except SaeError as no:
        return f"{no.status} {no}"
    return ""


def test_keys_flow_between_hosts_and_a_partition_heals(divided: Divided) -> None:
    with divided.client("sae-1") as near, divided.client("sae-2") as far:
        before = drawn(near, "sae-2", 16)
        assert far.dec_keys("sae-1", [key.key_id for key in before[:8]]) == before[:8]

        divided.host.part()
        eventually(lambda: said(near) == CORE_DOWN, "the front end says that core is away")
        with pytest.raises(SaeError) as no:
            near.enc_keys("sae-2", 1)
        assert (no.value.status, no.value.retry_after) == (503, "1")

        divided.host.heal()
        eventually(lambda: not said(near), "the front end serves again")
        after = drawn(near, "sae-2", 4)
    with divided.client("sae-2") as far:
        rest = [*before[8:], *after]
        assert far.dec_keys("sae-1", [key.key_id for key in rest]) == rest
    log = (divided.there.folder / "kms-1/log").read_text()
    assert "actor_crashed" not in log
