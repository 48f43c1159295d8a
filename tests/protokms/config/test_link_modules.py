"""What a `[[link]]` says of its module: a fibre, a device, and what does not go together."""

from pathlib import Path
from typing import Any

import pytest

from actors.modules.devices.device import Device
from actors.modules.etsi004.wire import Qos
from actors.modules.physical import Physical
from protokms.config import interfaces, modules
from protokms.config.load import load
from protokms.config.sections import Link, NodeConfig
from protokms.config.tables import ConfigError
from protokms.lab import lab, topology
from protokms.node.interfaces import link_child
from tests.kit.authority import Authority

GLASS = {"module": "physical", "fibre_km": 25}
NO_ENDS = {"bind": None, "remote": None, "secret": None, "round_s": None, "max_bytes": None}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("modules") / "lab"
    lab.init(folder, topology.parse("chain:2"))
    authority = Authority(folder / "kms-1", "device-ca")
    authority.issue("device")
    (folder / "kms-1/device.key").chmod(0o600)
    authority.issue("other")
    (folder / "kms-1/other.key").chmod(0o600)
    return folder


def device(**other: Any) -> dict[str, Any]:
    table = {
        "url": '"https://device-1.example:8443"',
        "far_sae": '"far"',
        "certificate": '"device.crt"',
        "key": '"device.key"',
        "ca": '"device-ca.crt"',
    } | other
    rows = "".join(f"{name} = {value}\n" for name, value in table.items() if value is not None)
    return {"module": "etsi014", **NO_ENDS, "": f"[link.etsi014]\n{rows}"}


def stream(**other: Any) -> dict[str, Any]:
    table = {
        "url": '"tls://device-1.example"',
        "source": '"client://kms-1"',
        "destination": '"client://kms-2"',
        "certificate": '"device.crt"',
        "key": '"device.key"',
        "ca": '"device-ca.crt"',
    } | other
    rows = "".join(f"{name} = {value}\n" for name, value in table.items() if value is not None)
    return {"module": "etsi004", **NO_ENDS, "": f"[link.etsi004]\n{rows}"}


def read(home: Path, **keys: Any) -> NodeConfig:
    """Read the file of kms-1 with these keys of its one link; None takes a key out."""
    lines = (home / "kms-1/node.toml").read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("[[link]]"))
    kept = [line for line in lines[start + 1 :] if line.split(" ")[0] not in keys]
    keys.setdefault("round_s", None)
    table = keys.pop("", "")
    made = [f"{name} = {toml(value)}" for name, value in keys.items() if value is not None]
    file = home / "kms-1/changed.toml"
    left = [line for line in kept if not line.startswith("round_s")]
    file.write_text("\n".join([*lines[: start + 1], *left, *made, table, ""]))
    return load(file)


def toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def problems(home: Path, **keys: Any) -> dict[str, str]:
    """Return key and reason of everything that is wrong."""
    with pytest.raises(ConfigError) as why:
        read(home, **keys)
    return {it.key: it.reason for it in why.value.problems}


def only(config: NodeConfig) -> Link:
    (link,) = config.links
    return link


def test_a_fibre_becomes_a_module_with_its_pace(home: Path) -> None:
    link = only(read(home, **GLASS, protocol="bbm92", qber_max=0.05, block_gates=1e9))

    made = modules.physical_of(link)

    assert isinstance(made, Physical)
    assert (made.glass.fibre_km, made.glass.protocol, made.qber_max) == (25, "bbm92", 0.05)
    assert made.drift_s == Physical(glass=made.glass).drift_s
    assert link_child(link).args[1]().tick_s is not None


def test_everything_that_is_wrong_with_a_fibre_is_told_at_once(home: Path) -> None:
    found = problems(
        home, module="physical", rate_bit_s=1000.0, loss_db_km=11, qber_max=0, protocol="e91"
    )
    assert found.keys() == {f"link[0].{it}" for it in ("loss_db_km", "qber_max", "protocol")}

    assert problems(home, module="physical", rate_bit_s=1000.0) == {
        "link[0].rate_bit_s": "excludes a fibre, which makes the pace",
        "link[0].fibre_km": "is missing",
    }
    assert (
        "a block every 1e-05 s" in problems(home, **GLASS, block_gates=1e4)["link[0].block_gates"]
    )


def test_a_fibre_is_for_a_physical_module(home: Path) -> None:
    assert problems(home, fibre_km=25, drift=0.1) == {
        "link[0].fibre_km": 'is for a link with module = "physical"',
        "link[0].drift": 'is for a link with module = "physical"',
    }


def test_a_device_becomes_a_module(home: Path) -> None:
    link = only(read(home, role="both", **device(sae='"ours"', timeout_s=2, quirks='["get_only"]')))

    made = modules.device_of(link)

    assert (made.role, made.quirks, made.access.timeout_s) == ("both", ("get_only",), 2)
    assert made.access.certificate == home / "kms-1/device.crt"
    assert isinstance(link_child(link).args[1](), Device)


def test_everything_that_is_wrong_with_a_device_is_told_at_once(home: Path) -> None:
    wrong = device(
        url='"http://device"', far_sae=None, timeout_s=0, key_bits=7, more=1, quirks='"x"'
    )
    assert problems(home, **wrong).keys() == {
        f"link[0].etsi014.{it}"
        for it in ("url", "far_sae", "timeout_s", "key_bits", "more", "quirks")
    }

    found = problems(home, **device(key_bits=100, quirks='["x"]'))
    assert found == {
        "link[0].etsi014.key_bits": "is not a multiple of 8",
        "link[0].etsi014.quirks[0]": "x is no quirk",
    }


def test_the_files_of_a_device_are_looked_at(home: Path) -> None:
    found = problems(home, **device(certificate='"none.crt"', ca='"node.toml"'))
    assert found.keys() == {"link[0].etsi014.certificate", "link[0].etsi014.ca"}

    found = problems(home, **device(key='"other.key"'))
    assert found["link[0].etsi014.key"].endswith("device.crt")


def test_a_device_has_no_ends_and_no_pace(home: Path) -> None:
    keys = device() | {"remote": "127.0.0.1:9", "bind": "127.0.0.1:8", "rate_bit_s": 1000.0}

    assert problems(home, **keys) == {
        f"link[0].{name}": 'has no meaning with module = "etsi014"'
        for name in ("bind", "remote", "rate_bit_s")
    }
    assert problems(home, module="etsi014", **NO_ENDS) == {"link[0].etsi014": "is missing"}


def test_a_key_stream_becomes_a_module(home: Path) -> None:
    keys = stream(chunk_octets=1024, min_bit_s=10, max_bit_s=20, ttl_s=60, timeout_s=2)
    link = only(read(home, role="both", **keys))

    made = modules.stream_of(link)

    assert (made.role, made.access.timeout_s, made.access.edition) == ("both", 2, 2)
    assert made.access.qos == Qos(1024, max_bps=20, min_bps=10, ttl=60)
    assert made.access.certificate == home / "kms-1/device.crt"
    assert isinstance(link_child(link).args[1](), Device)


def test_everything_that_is_wrong_with_a_key_stream_is_told_at_once(home: Path) -> None:
    wrong = stream(
        url='"https://device"', source='"kms 1"', destination=None, chunk_octets=0, max_bit_s=-1
    )
    wrong[""] += "more = 1\n"
    assert problems(home, **wrong).keys() == {
        f"link[0].etsi004.{it}"
        for it in ("url", "source", "destination", "chunk_octets", "max_bit_s", "more")
    }

    found = problems(
        home, **stream(destination='"client://kms-1"', edition=3, min_bit_s=2, max_bit_s=1)
    )
    assert found == {
        "link[0].etsi004.destination": "is the application at this end too",
        "link[0].etsi004.edition": "is not known",
        "link[0].etsi004.min_bit_s": "is more than max_bit_s",
    }
    assert "link[0].etsi004.url" in problems(home, **stream(url='"tls://device:x"'))
    assert "link[0].etsi004.ca" in problems(home, **stream(ca='"none.crt"'))


def test_a_link_has_the_table_of_its_own_module_and_no_other(home: Path) -> None:
    both = stream()
    both[""] += str(device()[""])

    assert problems(home, **both) == {
        "link[0].etsi014": 'is for a link with module = "etsi014"',
    }
    assert problems(home, module="etsi004", **NO_ENDS) == {"link[0].etsi004": "is missing"}
    assert problems(home, **stream() | {"bind": "127.0.0.1:8", "fibre_km": 3}) == {
        f"link[0].{name}": 'has no meaning with module = "etsi004"' for name in ("bind", "fibre_km")
    }


def test_an_emulated_link_has_ends_one_role_and_no_device(home: Path) -> None:
    keys = device() | {"module": "emulated", "role": "both"}

    assert problems(home, **keys) == {
        "link[0].bind": "is missing",
        "link[0].remote": "is missing",
        "link[0].secret": "is missing",
        "link[0].role": "is for a device",
        "link[0].etsi014": 'is for a link with module = "etsi014"',
    }


def test_an_interface_is_physical_and_each_of_its_files_says_the_fibre(tmp_path: Path) -> None:
    lab.init(tmp_path / "lab", topology.parse("chain:2", 25.0), bare=True)
    config = load(tmp_path / "lab/kms-1/node.toml")
    (one,) = config.interfaces
    assert one.module == "physical"

    assert interfaces.read_link(one, "kms-2").fibre_km == 25
    file = interfaces.fibre_file(one, "kms-2")
    file.write_text(file.read_text().replace("fibre_km = 25.0", ""))
    with pytest.raises(ConfigError, match="fibre_km: is missing"):
        interfaces.read_link(one, "kms-2")
    with pytest.raises(ConfigError, match="fibre_km: is missing"):
        load(tmp_path / "lab/kms-1/node.toml")


def test_a_file_that_several_kinds_of_interface_may_read_is_checked_by_the_one_that_does(
    tmp_path: Path,
) -> None:
    lab.init(tmp_path / "lab", topology.parse("star:3", 25.0), bare=True)
    file = tmp_path / "lab/kms-1/node.toml"
    file.write_text(file.read_text().replace('module = "physical"', 'module = "emulated"', 1))

    plain, glass = load(file).interfaces

    assert interfaces.read_link(glass, "kms-2").fibre_km == 25
    with pytest.raises(ConfigError, match="is for a link with module"):
        interfaces.read_link(plain, "kms-2")


def test_core_does_not_know_the_kind_of_a_module_in_another_process(tmp_path: Path) -> None:
    lab.init(tmp_path / "lab", topology.spread(topology.parse("chain:2", 25.0)))

    (one,) = interfaces.numbered(load(tmp_path / "lab/kms-1/node.toml"))

    assert (one.process, one.module) == ("links", "")


def test_a_lab_over_fibre_says_so_in_each_link(tmp_path: Path) -> None:
    lab.init(tmp_path / "lab", topology.parse("chain:2", topology.kilometres("25km")))

    link = only(load(tmp_path / "lab/kms-1/node.toml"))

    assert (link.module, link.fibre_km, link.round_s) == ("physical", 25, None)


@pytest.mark.parametrize("text", ["25", "km", "-1km", "1001km", "1e3km", "25 miles", "25kmx"])
def test_a_length_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match="is no length"):
        topology.kilometres(text)


def test_a_file_says_of_each_link_how_long_it_is(tmp_path: Path) -> None:
    file = tmp_path / "town.toml"
    rows = '[[node]]\nname = "a"\n[[node]]\nname = "b"\n[[link]]\na = "a"\nb = "b"\n'
    file.write_text(rows + "fibre_km = 0\nblock_gates = 1e9\ndark = 0\n")

    (link,) = topology.parse(str(file)).links
    assert link.options() == {"fibre_km": 0, "block_gates": 1e9, "dark": 0}

    with pytest.raises(ConfigError, match="and not --fibre"):
        topology.parse(str(file), 25.0)
    file.write_text(rows + "fibre_km = 5\nround_s = 0.1\n")
    with pytest.raises(ConfigError, match="excludes a fibre"):
        topology.parse(str(file))
