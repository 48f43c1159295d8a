"""Two nodes over a pair of devices in memory: what both ends show, and whether keys come."""

from typing import Any

from actors.protocol import alarms, keys
from actors.protocol.common import Health, Healthy
from protokms.testing.kms import KmsNetwork
from tests.kit.twins import Pair

A, B = "kms-1", "kms-2"


def network(twins: Pair[Any, Any]) -> KmsNetwork:
    """Make both nodes, in whose time the devices live."""
    made = KmsNetwork(f"{A}--{B}", pipe=twins)
    twins.join(made.cluster.agenda)
    return made


def link(kms: KmsNetwork, node: str = A, kind: str = "quantum_link") -> Healthy:
    """Ask the link, or the `key_store`, of a node how it is."""
    found = kms.cluster.ask(f"{kind}/{B if node == A else A}@{node}", Health())
    assert isinstance(found, Healthy)
    return found


def alarm(kms: KmsNetwork, node: str = A) -> list[str]:
    """Return the texts of the alarms `link_quiet`."""
    found = kms.cluster.ask(f"{alarms.NAME}@{node}", alarms.ListAlarms())
    assert isinstance(found, alarms.AlarmList)
    return [it.text for it in found.alarms if it.id == "link_quiet"]


def stock(kms: KmsNetwork, node: str = A) -> float:
    """Return how many octets are in store."""
    return kms.cluster.count(node, "protokms_bits", kind="stored") / 8


def both_fetch(kms: KmsNetwork) -> bool:
    """Get a key at one end and fetch it at the other; whether it is the same."""
    made = kms.enc("sae-1", "sae-2", wait=10.0)
    assert isinstance(made, keys.Keys), made
    same = kms.dec("sae-2", "sae-1", made.grant)
    assert isinstance(same, keys.KeysWithIds), same
    return same.octets[0] == made.octets


def errors(kms: KmsNetwork, kind: str, node: str = A) -> float:
    """Count the requests of a node's device that came to nothing."""
    return kms.cluster.count(node, "protokms_link_device_errors", kind=kind)
