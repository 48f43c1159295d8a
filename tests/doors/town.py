"""Three nodes, of which two run: the third is the attacker's, with all that it is entitled to."""

import re
import signal
from functools import partial
from pathlib import Path

from protokms.config.load import load
from protokms.config.sections import NodeConfig
from protokms.lab.topology import LinkPlan, NodePlan, Topology
from tests.doors.forge import Forge, serial
from tests.processes.real_lab import RealLab, drawn, eventually, exchange, has_keys

VICTIM, FRIEND, LIAR = "kms-1", "kms-2", "kms-3"
THIEF = "sae-1b"
"""An SAE of the victim with a certificate of its own: whoever attacks over HTTPS."""

HEARTBEAT_S = 0.25

_STUMBLED = re.compile(
    r'"event":"(actor_crashed|request_failed|http_loop|node_died|peer_quarantined)"|Traceback'
)


def shape() -> Topology:
    """A sender and a receiver at each door: kms-1 hears datagrams of kms-3, kms-2 of kms-1."""
    nodes = [
        NodePlan(name=VICTIM, saes=["sae-1", THIEF, "sae-1c"]),
        NodePlan(name=FRIEND, saes=["sae-2", "sae-2b"]),
        NodePlan(name=LIAR, saes=["sae-3"]),
    ]
    links = [LinkPlan(a=VICTIM, b=FRIEND, rate_bit_s=3e6), LinkPlan(a=LIAR, b=VICTIM)]
    return Topology(nodes=nodes, links=links)


class Town(RealLab):
    """Nodes under attack, and the proof that they are well."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, shape())
        self._pids: dict[str, int] = {}
        self.configure("etsi014", VICTIM, crl="crl.pem")
        self.configure("transport", VICTIM, FRIEND, heartbeat_s=HEARTBEAT_S)
        self.revoke()

    def revoke(self, *saes: str) -> None:
        """Write the list of revoked certificates: those of these SAEs, and no others."""
        rows = [row for row in self.made.saes if row.id in saes]
        serials = [serial(self.folder / row.cert) for row in rows]
        Forge(self.folder, self.folder / "ca").revoke(serials, self.folder / VICTIM / "crl.pem")

    def reload(self, node: str) -> None:
        """SIGHUP; its files are read again afterwards."""
        before = self.events(node).count("reloaded")
        self.process(node).signal(signal.SIGHUP)
        eventually(lambda: self.events(node).count("reloaded") > before, "it reloads")

    def open(self) -> None:
        """Start the two, and wait until there are keys."""
        for node in (VICTIM, FRIEND):
            self._pids[node] = self.launch(node).pid
        for node in (VICTIM, FRIEND):
            eventually(partial(self._answers, node), f"{node} answers")
        for sae, peer in (("sae-1", "sae-2"), ("sae-2", "sae-1")):
            with self.client(sae) as client:
                eventually(partial(has_keys, client, peer, 64), "keys to hand out")

    def config_of(self, node: str) -> NodeConfig:
        """Read the configuration of a node."""
        return load(self.folder / node / "node.toml")

    def https_of(self, node: str) -> tuple[str, int]:
        """Where a node serves SAEs."""
        made = self.config_of(node).etsi014
        assert made
        return made.bind.host, made.bind.port

    def unharmed(self) -> None:
        """Prove that the same processes serve an honest pair, and that no actor has died."""
        with self.client("sae-1") as near, self.client("sae-2") as far:
            for sae, client, peer in (("sae-1", near, "sae-2"), ("sae-2", far, "sae-1")):
                eventually(partial(has_keys, client, peer, 8), f"keys for {sae}")
            exchange(near, far, 4)
            sent = drawn(far, "sae-1", 2)
            assert near.dec_keys("sae-2", [key.key_id for key in sent]) == sent
        for node, pid in self._pids.items():
            assert self.process(node).pid == pid, f"{node} is another process"
            found = _STUMBLED.search(self.log(node))
            assert not found, f"{node}: {self.log(node)[found.start() - 200 :][:2000]}"
            assert not self.metric(node, "protokms_actor_deaths_total"), node
        for node, peer in ((VICTIM, FRIEND), (FRIEND, VICTIM)):
            assert not self.metric(node, "protokms_alarms_total", peer=peer), node

    def _answers(self, node: str) -> bool:
        try:
            return "actors" in self.look(node, "/health")
        except OSError:
            return False
