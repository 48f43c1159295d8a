"""The module of examples/module in simulated nodes: what a device leaves becomes keys, once."""

from pathlib import Path

import pytest

from actors.modules.module import Module
from actors.protocol import keys
from examples.module.qkd_folder import Folder, FolderModule
from protokms.testing.agenda import Agenda
from protokms.testing.kms import KmsNetwork
from tests.kit.folders import BLOCK, Devices, Looks

A, B = "kms-1", "kms-2"


class Ends:
    """The one link of a network: a folder at each end."""

    def __init__(self, home: Path) -> None:
        self.devices = Devices(home / "a", home / "b")
        self._folders = [Folder(path) for path in self.devices.folders]
        self.agenda = Agenda(0)

    def __call__(self, **_: object) -> "Ends":
        return self

    def sender(self) -> Module:
        return FolderModule("sender", self._folders[0], Looks(self.agenda))

    def receiver(self) -> Module:
        return FolderModule("receiver", self._folders[1], Looks(self.agenda))


class Site:
    """Two nodes over such a link."""

    def __init__(self, home: Path) -> None:
        self.ends = Ends(home)
        self.devices = self.ends.devices
        self.kms = KmsNetwork(f"{A}--{B}", pipe=self.ends)
        self.ends.agenda = self.kms.cluster.agenda
        for node in (A, B):  # so that the links look in the time of this cluster
            self.kms.cluster.restart(node)
        self.kms.advance(2.0)

    def blocks(self, number: int, *blocks: bytes) -> None:
        for _ in range(number):
            self.devices.block(*blocks)
            self.kms.advance(0.5)

    def count(self, node: str, name: str, **labels: str) -> float:
        return self.kms.cluster.count(node, f"protokms_{name}", **labels)

    def stored(self) -> list[float]:
        return [self.count(node, "bits", kind="stored") for node in (A, B)]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_blocks_of_a_folder_become_keys_at_both_ends(site: Site) -> None:
    site.blocks(20)

    made = site.kms.enc("sae-1", "sae-2", number=4, wait=10.0)

    assert isinstance(made, keys.Keys)
    same = site.kms.dec("sae-2", "sae-1", made.grant, 0, 1, 2, 3)
    assert isinstance(same, keys.KeysWithIds)
    assert b"".join(it.reveal() for it in same.octets) == made.octets.reveal()
    assert any(made.octets.reveal()[:32] in block for block in site.devices.given)
    assert not [*site.devices.folders[0].iterdir(), *site.devices.folders[1].iterdir()]


def test_a_block_that_one_end_lacks_or_has_otherwise_costs_its_batch_only(site: Site) -> None:
    site.blocks(10)
    before = site.stored()
    site.blocks(1, b"", bytes(range(256)) * 16)
    site.blocks(1, site.devices.dice.randbytes(BLOCK), site.devices.dice.randbytes(BLOCK))
    site.blocks(10)
    site.kms.advance(60.0)

    assert site.stored()[0] == site.stored()[1] > before[0] > 0
    assert site.count(A, "batches_decided", decision="discarded") > 0


def test_a_number_that_was_passed_and_a_block_of_no_size_are_dropped_and_counted(
    site: Site,
) -> None:
    site.blocks(3)
    for number, octets in ((2, bytes(BLOCK)), (9, bytes(64_001)), (1 << 62, bytes(BLOCK))):
        site.devices.block(octets, number=number)
    site.kms.advance(1.0)

    for node, peer in ((A, B), (B, A)):
        assert site.count(node, "link_dropped", reason="malformed", peer=peer) == 3
    assert not list(site.devices.folders[0].iterdir())


def test_a_device_that_fails_is_noticed_by_the_health_tests(site: Site) -> None:
    site.blocks(5)
    before = site.stored()
    site.blocks(10, bytes(BLOCK))
    site.kms.advance(30.0)

    assert site.stored() == before
    assert site.count(A, "alarms") > 0


def test_nothing_is_taken_twice_when_a_node_starts_anew(site: Site) -> None:
    site.blocks(5)
    site.kms.cluster.restart(A)
    site.kms.advance(5.0)
    site.blocks(10)

    first = site.kms.enc("sae-1", "sae-2", number=8, wait=10.0)
    again = site.kms.enc("sae-2", "sae-1", number=8, wait=10.0)

    assert isinstance(first, keys.Keys)
    assert isinstance(again, keys.Keys)
    cut = [
        it[at : at + 32]
        for it in (first.octets.reveal(), again.octets.reveal())
        for at in range(0, 256, 32)
    ]
    assert len(set(cut)) == len(cut)
