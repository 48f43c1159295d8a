"""Which hosts a lab has, and why it has none."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from protokms.lab import hosts, lab
from protokms.lab.lab import LabError
from protokms.lab.topology import LinkPlan, NodePlan, ProcessPlan, Topology, parse
from tests.kit.files import with_key

ONE, TWO, THREE = "198.18.0.1", "198.18.0.2", "198.18.0.3"
FRONT = ProcessPlan(name="front", actors=["etsi014"], host=TWO)
LINKS = ProcessPlan(name="links", actors=["quantum_link/kms-2"], host=TWO)


def node(number: int, host: str, *processes: ProcessPlan, **more: Any) -> NodePlan:
    more = {"metrics": host, "saes": [f"sae-{number}"], **more}
    return NodePlan(name=f"kms-{number}", host=host, processes=[*processes], **more)


def made(folder: Path, *nodes: NodePlan) -> tuple[Path, lab.Lab]:
    link = LinkPlan(a="kms-1", b="kms-2", allow_insecure_emulation=True)
    return folder / "lab", lab.init(folder / "lab", Topology(nodes=[*nodes], links=[link]))


def faults(folder: Path, nodes: Sequence[NodePlan]) -> str:
    with pytest.raises(LabError) as no:
        hosts.find(*made(folder, *nodes))
    return str(no.value)


def test_a_process_may_be_on_another_host_than_its_node(tmp_path: Path) -> None:
    folder, its = made(tmp_path, node(1, ONE, FRONT, LINKS), node(2, THREE))

    found = hosts.find(folder, its)

    assert found.places == {"kms-1": ONE, "kms-1/front": TWO, "kms-1/links": TWO, "kms-2": THREE}
    assert found.addresses == [ONE, TWO, THREE]
    assert found.of("kms-1") == [ONE, TWO]
    assert (found.of("kms-1/core"), found.of("kms-1/front")) == ([ONE], [TWO])
    assert its.nodes[0].etsi014.startswith(f"https://{TWO}:")
    assert f'remote = "{TWO}:' in (folder / "kms-2/node.toml").read_text()
    certificate = x509.load_pem_x509_certificate((folder / "kms-1/tls.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert TWO in {str(name) for name in names.get_values_for_type(x509.IPAddress)}


def test_who_is_not_there_has_no_host(tmp_path: Path) -> None:
    found = hosts.find(*made(tmp_path, node(1, ONE), node(2, TWO)))

    with pytest.raises(LabError, match="nobody is called kms-9 here; there are kms-1, kms-2"):
        found.of("kms-9")


def test_names_stand_for_what_is_listened_on(tmp_path: Path) -> None:
    one = node(1, "kms-1.lab", bind=ONE, metrics=ONE)
    found = hosts.find(*made(tmp_path, one, node(2, TWO, bind="0.0.0.0")))

    assert found.places == {"kms-1": ONE, "kms-2": TWO}
    assert found.names == {"kms-1.lab": ONE}


def test_a_lab_on_loopback_has_no_hosts(tmp_path: Path) -> None:
    lab.init(tmp_path / "lab", parse("chain:2"))

    with pytest.raises(LabError) as no:
        hosts.find(tmp_path / "lab", lab.read(tmp_path / "lab"))
    assert str(no.value).count("on loopback: `lab init --hosts NET` gives each node a host") == 2


def test_hosts_that_do_not_fit_are_told_in_one_go(tmp_path: Path) -> None:
    wrong = [
        node(1, ONE, metrics="127.0.0.1"),
        node(2, "198.18.1.2"),
        node(3, ONE),
        node(4, "kms-4.lab", bind="0.0.0.0", metrics="0.0.0.0"),
    ]

    said = faults(tmp_path, wrong)

    assert "kms-1: metrics.bind is 127.0.0.1, and not on its host 198.18.0.1" in said
    assert "kms-2: 198.18.1.2 is not in 198.18.0.0/24, where 198.18.0.1 is" in said
    assert "kms-3: 198.18.0.1 is that of kms-1, too" in said
    assert "kms-4: transport.bind is 0.0.0.0: write the one address of its host" in said


def test_a_name_is_that_of_one_host(tmp_path: Path) -> None:
    front = ProcessPlan(name="front", actors=["etsi014"], host="kms-1.lab", bind=TWO)
    one = node(1, "kms-1.lab", front, bind=ONE, metrics=ONE)

    assert "its name kms-1.lab is that of another host, too" in faults(
        tmp_path, [one, node(2, THREE)]
    )


def test_a_configuration_that_is_wrong_is_told(tmp_path: Path) -> None:
    folder, its = made(tmp_path, node(1, ONE), node(2, TWO))
    file = folder / "kms-2/node.toml"
    file.write_text(with_key(file.read_text(), "transport", "bind", "7"))

    with pytest.raises(LabError, match="kms-2: its configuration is wrong"):
        hosts.find(folder, its)


def test_addresses_of_both_families_are_in_one_network_each(tmp_path: Path) -> None:
    front = ProcessPlan(name="front", actors=["etsi014"], host="fd00:18::2")
    found = hosts.find(*made(tmp_path, node(1, ONE, front), node(2, TWO)))

    assert [str(net) for net in hosts.networks(found)] == ["198.18.0.0/24", "fd00:18::/64"]
