"""A module whose bits are stuck, in whole nodes: no key, an alarm, and the other link serves."""

from collections.abc import Sequence

import pytest

from actors.modules.emulated import Emulated
from actors.modules.memory import Pipe, PipeEnd
from actors.modules.module import Bits
from actors.protocol import keys, links
from actors.protocol.common import Failed, Health, Healthy
from protokms.node.observe import Checkup
from protokms.testing.kms import KmsNetwork
from transport.message import Secret

pytestmark = pytest.mark.slow

STORES = ("key_store/kms-2@kms-1", "key_store/kms-1@kms-2")


class Module(Pipe):
    """A pipe whose sender can be stuck: all its bits are zero then."""

    stuck = False

    def sender(self) -> Emulated:
        """Make the module of the sending link."""
        return _Sender(self._sender, PipeEnd(self, receives=False), self)


class _Sender(Emulated):
    def __init__(self, emulation: object, end: PipeEnd, module: Module) -> None:
        super().__init__(emulation, end)  # type: ignore[arg-type]
        self._module = module

    def _draw(self, lengths: Sequence[int]) -> Bits:
        bits = super()._draw(lengths)
        if not self._module.stuck:
            return bits
        return Bits(bits.seqs, tuple(Secret(bytes(len(it))) for it in bits.payloads))


def network(
    nodes: str = "kms-1--kms-2 kms-1--kms-3", **options: object
) -> tuple[KmsNetwork, Module]:
    kms = KmsNetwork(nodes, pipe=Module, **options)  # type: ignore[arg-type]
    module = kms.pipes["kms-1", "kms-2"]
    assert isinstance(module, Module)
    return kms, module


def health(kms: KmsNetwork, at: str) -> Healthy:
    told = kms.cluster.ask(at, Health())
    assert isinstance(told, Healthy)
    return told


def stored(kms: KmsNetwork) -> list[int]:
    return [int(dict(health(kms, at).facts)["stored_bits"]) for at in STORES]


def checkup(kms: KmsNetwork) -> Checkup:
    """What `/ready` of kms-1 is made of, as far as its links go."""
    stores = [f"key_store/{peer}" for one, peer in kms.pipes if one == "kms-1"]
    return Checkup("kms-1", {it: health(kms, f"{it}@kms-1") for it in stores}, ())


def test_no_key_is_made_of_a_stuck_module_and_the_other_link_serves() -> None:
    kms, module = network()
    module.stuck = True

    kms.advance(10.0)

    assert stored(kms) == [0, 0]
    refused = kms.enc("sae-1", "sae-2", wait=2.0)
    assert isinstance(refused, Failed)
    assert refused.code == "no_keys"
    for node, peer in (("kms-1", "kms-2"), ("kms-2", "kms-1")):
        assert kms.cluster.count(node, "protokms_alarms", kind="bad_bits") == 1
        assert kms.cluster.count(node, "protokms_link_quarantined", peer=peer) == 1
    assert isinstance(kms.enc("sae-1", "sae-3"), keys.Keys)
    ready = checkup(kms).ready()
    assert ready["ready"]
    assert "key_store/kms-2: its link is in quarantine" in ready["waiting"][0]


def test_a_node_is_not_ready_when_its_only_link_has_brought_nothing_but_bad_bits() -> None:
    kms, module = network("kms-1--kms-2")
    module.stuck = True

    kms.advance(5.0)

    assert checkup(kms).reasons == ["bits have failed health tests, and no other link serves"]


def test_nodes_tell_each_other_their_verdicts() -> None:
    kms, module = network("kms-1--kms-2")
    told: list[bytes] = []
    kms.cluster.net.watchers.append(lambda _what, _sender, _to, octets: told.append(octets))

    kms.advance(3.0)
    assert any(b"blocks.held/2" in it and b"good" in it for it in told)
    assert not any(b"blocks.held/1" in it and b"capabilities" not in it for it in told)
    module.stuck = True
    kms.advance(1.0)

    assert any(b"blocks.held/2" in it and b"bad" in it for it in told)


def test_a_module_that_gets_stuck_spends_no_key_and_stops_none_that_is_in_store() -> None:
    kms, module = network("kms-1--kms-2")
    kms.advance(5.0)
    before = stored(kms)

    module.stuck = True
    kms.advance(5.0)

    assert before == stored(kms)
    made = kms.enc("sae-1", "sae-2")
    assert isinstance(made, keys.Keys)
    assert made.octets.reveal() != bytes(32)
    assert checkup(kms).ready()["ready"]
    assert isinstance(kms.dec("sae-2", "sae-1", made.grant), keys.KeysWithIds)


@pytest.mark.parametrize("by_hand", [True, False])
def test_bits_count_again_when_the_quarantine_ends(by_hand: bool) -> None:
    kms, module = network(store={"quarantine_good_batches": 0 if by_hand else 3})
    module.stuck = True
    kms.advance(3.0)
    module.stuck = False
    kms.advance(0.1)
    assert stored(kms) == [0, 0]

    for at in STORES if by_hand else ():
        assert isinstance(kms.cluster.ask(at, links.ClearQuarantine()), links.QuarantineCleared)
    kms.advance(5.0)

    assert min(stored(kms)) > 0
    assert isinstance(kms.enc("sae-1", "sae-2"), keys.Keys)
