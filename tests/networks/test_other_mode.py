"""Two nodes that give keys out in different modes tell each other, and both alarm (R9)."""

import dataclasses

from actors.keystore.options import StoreOptions
from actors.protocol import peers
from protokms.node.composition import Composition
from protokms.testing.kms import KmsNetwork


class Mixed(KmsNetwork):
    """A network whose first node is in `local` mode."""

    def composition(self, node: str) -> Composition:
        made = super().composition(node)
        return dataclasses.replace(made, store=StoreOptions(mode="local")) if node == "a" else made


def test_nodes_of_different_mode_alarm_at_both_ends() -> None:
    kms = Mixed("a--b b--c")
    kms.advance(2.0)

    assert kms.cluster.count("a", "protokms_alarms", kind="other_mode", peer="b") == 1
    assert kms.cluster.count("b", "protokms_alarms", kind="other_mode", peer="a") == 1
    assert kms.cluster.count("b", "protokms_alarms", kind="other_mode", peer="c") == 0
    listed = kms.cluster.ask("peer_manager@b", peers.ListPeers())
    assert isinstance(listed, peers.Peers)
    assert [it.trouble for it in listed.peers] == [
        "its mode is local, ours confirmed: set [store] mode to one for all nodes",
        "",
    ]
