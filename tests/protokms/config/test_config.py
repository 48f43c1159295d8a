"""A configuration is whole and right, or every reason why not is told."""

import copy
import json
import shutil
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from math import nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.crypto.one_time_pad import KEY_OCTETS
from actors.keystore.options import STORE_BITS_MIN
from actors.protocol.relay import CHUNK_MAX
from etsi.http.limits import LIMITS
from protokms.config.earlier import RETIRED
from protokms.config.load import load, node_key
from protokms.config.tables import ConfigError, Problem
from protokms.lab import lab
from protokms.lab.topology import LinkPlan, NodePlan, ProcessPlan, Topology
from tests.kit.checked import find_problems

Table = dict[str, Any]
Change = Callable[[Table], Any]

PAIR, SAE = "store.max_undelivered_bits_per_pair", "store.max_undelivered_bits_per_sae"
RANGE = Path(__file__).parents[3] / "docs/range.md"
OPTIONAL = {
    ("manage",),
    ("node", "log"),
    ("transport", "heartbeat_s"),
    ("etsi014",),
    ("etsi014", "sae_id_from"),
    ("etsi014", "deny"),
    ("store",),
    ("store", "max_bits"),
    ("store", "mode"),
    ("store", "ttl_s"),
    ("store", "erase_s"),
    ("store", "redelivery_s"),
    ("link",),
    ("link", 0, "interface"),
    ("link", 0, "module"),
    ("link", 0, "round_s"),
    ("link", 0, "max_bytes"),
    ("process",),
    ("process", 0, "config"),
}


def toml(value: Any) -> str:
    if isinstance(value, dict):
        rows = (f"{json.dumps(key)} = {toml(item)}" for key, item in value.items())
        return "{" + ", ".join(rows) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, float):
        return repr(value) if value == value else "nan"
    return json.dumps(value, ensure_ascii=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One node has neighbours in core and in a process beside it."""
    folder = tmp_path_factory.mktemp("labs") / "lab"
    apart = [ProcessPlan(name="links", actors=["quantum_link/kms-3"])]
    nodes = [NodePlan(name="kms-1", saes=["sae-1"], processes=apart)]
    nodes += [NodePlan(name=name, saes=[]) for name in ("kms-2", "kms-3")]
    links = [LinkPlan(a="kms-1", b="kms-2"), LinkPlan(a="kms-1", b="kms-3")]
    lab.init(folder, Topology(nodes=nodes, links=links))
    return folder


@pytest.fixture(scope="module")
def table(made: Path) -> Table:
    return tomllib.loads((made / "kms-1/node.toml").read_text())


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "lab") / "kms-1"


def checked(folder: Path, table: Table, *, files: bool = True) -> list[Problem]:
    file = folder / "kms-1/mutant.toml"
    text = "".join(f"{json.dumps(key)} = {toml(value)}\n" for key, value in table.items())
    file.write_text(text)
    try:
        load(file, files=files)
    except ConfigError as wrong:
        return list(wrong.problems)
    return []


def changed(table: Table, change: Change) -> Table:
    fresh = copy.deepcopy(table)
    change(fresh)
    return fresh


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items: Any = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*path, key)
        if isinstance(item, dict) or (isinstance(item, list) and item and key != "actors"):
            yield from paths(item, (*path, key))


def parent(table: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        table = table[key]
    return table


def drop_at(table: Table, path: tuple[Any, ...]) -> None:
    del parent(table, path)[path[-1]]


def set_at(table: Table, path: tuple[Any, ...], value: Any) -> None:
    parent(table, path)[path[-1]] = value


def dotted(path: tuple[Any, ...]) -> str:
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}"
    return text.lstrip(".")


def test_what_lab_init_writes_is_right_and_paths_become_absolute(made: Path) -> None:
    config_ = load(made / "kms-1/node.toml")

    assert config_.node.name == "kms-1"
    assert config_.node.data == (made / "kms-1/store.db").absolute()
    assert [link.peer for link in config_.links] == ["kms-2"]
    assert config_.neighbours == ["kms-2", "kms-3"]
    assert config_.audience == ["etsi014"]
    assert config_.process_of("etsi014") == "core"
    assert config_.process_of("quantum_link/kms-3") == "links"
    assert config_.process_of("key_store/kms-2") == "core"


def test_a_key_that_is_needed_is_missed_by_its_name(made: Path, table: Table) -> None:
    for path in paths(table):
        if path in OPTIONAL or isinstance(path[-1], int):
            continue

        found = checked(made, changed(table, partial(drop_at, path=path)), files=False)

        assert any(problem.key.startswith(dotted(path[:-1])) for problem in found), path
        assert all(problem.remedy and problem.file for problem in found)


def test_a_key_with_a_default_may_be_missing(made: Path, table: Table) -> None:
    without = changed(table, lambda t: (t.pop("process"), t.pop("store"), t["node"].pop("log")))

    assert checked(made, without) == []


@pytest.mark.parametrize("value", [True, -1, 1.5, "", "no\0file", [], [[]], {}, {"a": 1}])
def test_a_value_of_a_wrong_kind_is_told_at_its_key(made: Path, table: Table, value: Any) -> None:
    for path in paths(table):
        if parent(table, path)[path[-1]] == value or (path[-1] == "deny" and value == []):
            continue
        if value == [] and path in {("link",), ("process",)}:
            continue
        if value == {} and path == ("store",):
            continue

        found = checked(made, changed(table, partial(set_at, path=path, value=value)), files=False)

        good = path[-1] in {"round_s", "heartbeat_s"} or path[0] == "store"  # 1.5 may be right
        assert found or (good and value == 1.5), (path, value)
        keys = [problem.key for problem in found]
        assert not found or any(dotted(path) in key for key in keys), (path, value, keys)


def test_every_error_is_told_at_once(made: Path, table: Table) -> None:
    def spoil(t: Table) -> None:
        t["node"] |= {"name": "No Name", "datta": "x"}
        t["transport"]["heartbeat_s"] = 0
        t["etsi014"]["bind"] = "nowhere"
        t["link"][0]["max_bytes"] = "many"
        del t["metrics"]

    found = checked(made, changed(table, spoil))

    keys = [problem.key for problem in found]
    assert "node.name" in keys
    assert "node.datta" in keys
    assert "transport.heartbeat_s" in keys
    assert "etsi014.bind" in keys
    assert "link[0].max_bytes" in keys
    assert "metrics" in keys


def test_a_misspelt_key_is_recognised(made: Path, table: Table) -> None:
    found = checked(made, changed(table, lambda t: t["store"].update(redelivery=3)))

    assert [(one.key, one.reason) for one in found] == [("store.redelivery", "is an unknown key")]
    assert found[0].remedy == "did you mean redelivery_s"


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("link[1].peer", lambda t: t["link"].append(t["link"][0] | {"bind": "127.0.0.1:9"})),
        ("link[0].peer", lambda t: t["link"][0].update(peer="kms-1")),
        ("link[0].peer", lambda t: t["link"][0].update(peer="kms-7")),
        ("link[0].bind", lambda t: t["link"][0].update(bind="192.0.2.1:9")),
        ("link[0].remote", lambda t: t["link"][0].update(remote="kms-2.example:9")),
        ("link[0].remote", lambda t: t["link"][0].update(remote=t["link"][0]["bind"])),
        ("link[0].remote", lambda t: t["link"][0].update(remote="[::1]:9")),
        ("link[0].rate_bit_s", lambda t: t["link"][0].update(rate_bit_s=1e5)),
        ("link[0].rate_bit_s", lambda t: set_rate(t["link"][0], 1e10)),
        ("link[0].block_s", lambda t: t["link"][0].update(block_octets=1000)),
        ("link[0].block_s", lambda t: t["link"][0].update(block_octets=1000, block_s=9.0)),
        ("link[0].rate_bit_s", lambda t: set_rate(t["link"][0], 1.0)),
        ("link[0].loss", lambda t: t["link"][0].update(loss=1.01)),
        ("link[0].outages[0][1]", lambda t: t["link"][0].update(outages=[[1.0, -1.0]])),
        ("etsi014.max_sae_id_count", lambda t: t["etsi014"].update(max_sae_id_count=17)),
        ("etsi014.max_keys_per_request", lambda t: t["etsi014"].update(max_keys_per_request=1025)),
        ("etsi014.max_key_size_bits", lambda t: t["etsi014"].update(max_key_size_bits=524_296)),
        ("etsi014.max_keys_per_request", lambda t: t["etsi014"].update(max_keys_per_request=0)),
        ("etsi014.max_body_octets", lambda t: t["etsi014"].update(max_body_octets=1 << 31)),
        ("etsi014.max_connections", lambda t: t["etsi014"].update(max_connections=0)),
        ("etsi014.min_key_size_bits", lambda t: t["etsi014"].update(min_key_size_bits=0)),
        ("etsi014.key_size_bits", lambda t: t["etsi014"].update(min_key_size_bits=512)),
        ("etsi014.key_size_bits", lambda t: t["etsi014"].update(max_key_size_bits=128)),
        ("etsi014.request_timeout_s", lambda t: t["etsi014"].update(request_timeout_s=0)),
        ("etsi014.request_timeout_s", lambda t: t["etsi014"].update(request_timeout_s=nan)),
        ("store.erase_s", lambda t: t["store"].update(erase_s=0.9)),
        ("relay.expiry_s", lambda t: t.update(relay={"refresh_s": 5.0, "expiry_s": 9.0})),
        ("relay.max_sessions_per_sae", lambda t: t.update(relay={"max_sessions": 3})),
        ("relay.paths", lambda t: t.update(relay={"paths": 9})),
        ("relay.weight", lambda t: t.update(relay={"weight": 17})),
        ("relay.on_demand", lambda t: t.update(relay={"on_demand": "yes"})),
        ("transport.idle_s", lambda t: t["transport"].update(idle_s=0)),
        ("metrics.bind", lambda t: t["metrics"].update(bind=t["etsi014"]["bind"])),
        ("metrics.bind", lambda t: t["metrics"].update(bind=any_host(t["etsi014"]["bind"]))),
        ("process[1].name", lambda t: t["process"].append(t["process"][0])),
        ("process[1].address", lambda t: t["process"].append(t["process"][0])),
        ("process[1].public", lambda t: t["process"].append(t["process"][0])),
        ("process[1].seal", lambda t: t["process"].append(t["process"][0])),
        ("process[1].actors[0]", lambda t: t["process"].append(t["process"][0])),
        ("process[0].name", lambda t: t["process"][0].update(name="core")),
        ("process[0].address", lambda t: t["process"][0].update(address=t["transport"]["bind"])),
        ("process[0].actors[0]", lambda t: t["process"][0].update(actors=["etsi014"])),
        ("process[0].actors[0]", lambda t: t["process"][0].update(actors=["quantum_link/kms-2"])),
        ("process[0].actors[0]", lambda t: t["process"][0].update(actors=["quantum_link/kms-1"])),
        ("process[0].actors[0]", lambda t: t["process"][0].update(actors=["quantum_link/kms-9"])),
        ("process[0].actors[0]", lambda t: t["process"][0].update(actors=["key_store/kms-2"])),
        ("node.node_key", lambda t: t["node"].update(node_key={})),
        ("node.node_key", lambda t: t["node"]["node_key"].update(env="KEY")),
        ("node.node_key.credential", lambda t: t["node"].update(node_key={"credential": "../x"})),
        ("node.name", lambda t: t["node"].update(name="kms-9")),
        ("node.id", lambda t: t["node"].update(id="another")),
        ("node.data", lambda t: t["node"].update(data="nowhere/store.db")),
        ("node.data", lambda t: t["node"].update(data=".")),
        ("transport.curve", lambda t: t["transport"].update(curve="../kms-2/curve.key")),
        ("node.signing_key", lambda t: t["node"].update(signing_key="../kms-2/signing.key")),
        ("etsi014.key", lambda t: t["etsi014"].update(key="../kms-2/tls.key")),
        ("etsi014.certificate", lambda t: t["etsi014"].update(client_ca="../kms-2/tls.crt")),
        ("etsi014.crl", lambda t: t["etsi014"].update(crl="tls.crt")),
        ("etsi014.key_size_bits", lambda t: t["etsi014"].update(key_size_bits=9000)),
        ("etsi014.key_size_bits", lambda t: t["etsi014"].update(key_size_bits=257)),
        ("etsi014.max_in_flight_per_sae", lambda t: t["etsi014"].update(max_in_flight=4)),
        ("store.max_bits", lambda t: t["store"].update(max_bits=10**30)),
        ("store.max_bits", lambda t: t["store"].update(max_bits=(1 << 21) - 1)),
        ("node.data", lambda t: t["node"].update(data="x" * 300)),
        (PAIR, lambda t: t["store"].update({PAIR[6:]: 9_000_000, SAE[6:]: 8_000_000})),
        (PAIR, lambda t: t["store"].update({PAIR[6:]: 4096})),
        ("directory.file", lambda t: t["directory"].update(ca="../kms-1/signing.pub")),
        ("directory.file", lambda t: t["directory"].update(file="../lab.json")),
    ],
)
def test_what_does_not_fit_together_is_told(
    made: Path, table: Table, key: str, change: Change
) -> None:
    found = checked(made, changed(table, change))

    assert key in [problem.key for problem in found], found


@pytest.mark.parametrize(
    ("octets", "seconds", "refused"),
    [
        (1, 1.0, []),
        (16_777_216, 3600.0, []),
        (0, 60.0, ["link[0].block_octets: Expected 'int' >= 1"]),
        (16_777_217, 60.0, ["link[0].block_octets: Expected 'int' <= 16777216"]),
        (1_000, 3600.1, ["link[0].block_s: Expected 'float' <= 3600.0"]),
    ],
)
def test_blocks_past_the_range_are_refused_in_the_words_of_its_page(
    made: Path, table: Table, octets: int, seconds: float, refused: list[str]
) -> None:
    blocks = {"block_octets": octets, "block_s": seconds}

    found = checked(made, changed(table, lambda t: set_blocks(t["link"][0], blocks)))

    assert [f"{problem.key}: {problem.reason}" for problem in found] == refused
    assert [text for text in refused if f"`{text}`" not in RANGE.read_text()] == []


@pytest.mark.parametrize("value", [5, 10.0, "nonsense"])
@pytest.mark.parametrize("name", [key.partition(".")[2] for key in RETIRED])
def test_a_retired_key_is_a_warning_whatever_its_value(
    home: Path, table: Table, name: str, value: Any
) -> None:
    file = home / "old.toml"
    old = changed(table, lambda t: t["etsi014"].update({name: value}))
    file.write_text("".join(f"{key} = {toml(item)}\n" for key, item in old.items()))

    made = load(file)

    (warning,) = made.warnings
    assert warning.key == f"etsi014.{name}"
    assert f"is a constant, {asdict(LIMITS)[name]:g}, since 0.2" in warning.reason
    assert made.etsi014 == load(home / "node.toml").etsi014


def test_a_retired_key_of_another_table_is_unknown(made: Path, table: Table) -> None:
    found = checked(made, changed(table, lambda t: t["store"].update(idle_timeout_s=1.0)))

    assert [(problem.key, problem.reason) for problem in found] == [
        ("store.idle_timeout_s", "is an unknown key")
    ]


def set_rate(link: Table, rate: float) -> None:
    del link["round_s"]
    link["rate_bit_s"] = rate


def set_blocks(link: Table, blocks: Table) -> None:
    del link["round_s"]
    link |= blocks


def any_host(bind: str) -> str:
    return "0.0.0.0:" + bind.rpartition(":")[2]


def test_the_name_of_a_credential_leads_nowhere_else(
    made: Path, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(made / "kms-2"))
    sly = {"credential": "../kms-1/node.key"}

    (problem,) = checked(made, changed(table, lambda t: t["node"].update(node_key=sly)))

    assert problem.reason == "is not a plain name"


def test_an_emulated_link_leaves_loopback_only_when_told_so(made: Path, table: Table) -> None:
    away = {"bind": "192.0.2.1:9", "remote": "192.0.2.2:9", "allow_insecure_emulation": True}

    assert checked(made, changed(table, lambda t: t["link"][0].update(away))) == []


@pytest.mark.parametrize(
    "name", ["node.key", "signing.key", "curve.key", "tls.key", "links/kms-2.key"]
)
def test_a_secret_that_others_can_open_is_refused(home: Path, name: str) -> None:
    (home / name).chmod(0o640)

    (problem,) = find_problems(home / "node.toml")

    assert str(home / name) in problem.reason
    assert "chmod 600" in problem.reason + problem.remedy


@pytest.mark.parametrize("name", ["node.key", "curve.key", "tls.key", "tls.crt", "links/kms-2.key"])
def test_a_file_with_rubbish_is_told_and_not_quoted(home: Path, name: str) -> None:
    (home / name).write_bytes(b"\xff1234-octets")

    found = find_problems(home / "node.toml")

    assert any(name in problem.reason for problem in found)
    assert "1234" not in str(found)


@pytest.mark.parametrize("name", ["node.key", "tls.key", "tls.crt", "../ca/ca.crt"])
def test_a_missing_file_is_named(home: Path, name: str) -> None:
    (home / name).unlink()

    found = find_problems(home / "node.toml")

    assert any("does not exist" in problem.reason for problem in found)


def test_a_store_that_others_can_open_is_refused(home: Path) -> None:
    (home / "store.db").touch(mode=0o644)
    (home / "store.db").chmod(0o644)

    (problem,) = find_problems(home / "node.toml")

    assert problem.key == "node.data"


@pytest.mark.parametrize(
    "octets", [b"\xff", b"[node", b"a = " + b"[" * 5000, b"a=1" + b"0" * 5000, b"#" * (2 << 20)]
)
def test_what_is_no_toml_is_told(tmp_path: Path, octets: bytes) -> None:
    file = tmp_path / "node.toml"
    file.write_bytes(octets)

    found = find_problems(file)

    assert found
    assert all(problem.file == str(file) for problem in found)


def test_a_configuration_that_is_not_there_is_told(tmp_path: Path) -> None:
    (absent,) = find_problems(tmp_path / "node.toml")
    (folder,) = find_problems(tmp_path)

    assert "no such file" in absent.reason
    assert "directory" in folder.reason


def test_the_node_key_comes_from_a_file_the_environment_or_a_credential(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = (home / "node.toml").read_text()
    file = node_key(load(home / "node.toml"))
    monkeypatch.setenv("LAB_NODE_KEY", (home / "node.key").read_text())
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "cred").write_text((home / "node.key").read_text())  # systemd guards these

    keys = []
    for source in ('{ env = "LAB_NODE_KEY" }', '{ credential = "cred" }'):
        (home / "other.toml").write_text(text.replace('{ file = "node.key" }', source, 2))
        keys.append(node_key(load(home / "other.toml")))

    assert keys == [file, file]


@pytest.mark.parametrize("source", [{"env": "NOT_SET"}, {"credential": "none"}])
def test_a_node_key_that_is_nowhere_is_told(
    made: Path, table: Table, source: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)

    (problem,) = checked(made, changed(table, lambda t: t["node"].update(node_key=source)))

    assert problem.key.startswith("node.node_key.")


def test_a_key_in_the_environment_that_is_none_is_not_quoted(
    made: Path, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAD_KEY", "almost-a-secret")

    (problem,) = checked(
        made, changed(table, lambda t: t["node"].update(node_key={"env": "BAD_KEY"}))
    )

    assert "almost" not in str(problem)


anything = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)


@pytest.mark.slow
@settings(max_examples=500)
@given(data=st.data())
def test_no_mutation_ends_in_a_traceback(made: Path, table: Table, data: st.DataObject) -> None:
    fresh = copy.deepcopy(table)
    for _ in range(data.draw(st.integers(1, 4))):
        path = data.draw(st.sampled_from(list(paths(fresh)) or [("node",)]))
        holder = parent(fresh, path)
        act = data.draw(st.sampled_from(["set", "drop", "add"]))
        if act == "set":
            holder[path[-1]] = data.draw(anything)
        elif act == "drop" and path[-1] in (holder if isinstance(holder, dict) else range(99)):
            del holder[path[-1]]
        elif isinstance(holder, dict):
            holder[data.draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=9))] = 1

    found = checked(made, fresh)

    assert all(problem.file and problem.reason and problem.remedy for problem in found)
    assert found or fresh.keys() <= table.keys()


@settings(max_examples=50)
@given(st.integers(0, 2500), st.binary(max_size=8))
def test_no_noise_in_the_file_ends_in_a_traceback(made: Path, at: int, noise: bytes) -> None:
    octets = (made / "kms-1/node.toml").read_bytes()
    file = made / "kms-1/noise.toml"
    file.write_bytes(octets[:at] + noise + octets[at + len(noise) :])

    find_problems(file)  # does not raise


def test_a_management_socket_needs_a_short_name_and_a_folder(home: Path) -> None:
    file = home / "node.toml"
    before = file.read_text()
    (home / "file").touch()

    def found(name: str) -> list[str]:
        file.write_text(before.replace('"manage.sock" ', f'"{name}" '))
        return [problem.reason for problem in find_problems(file)]

    assert found("manage.sock") == []
    assert "more than 64" in found("x" * 65)[0]
    assert found("nowhere/s")[0].endswith("is no folder to write in")
    assert found("file") == ["is there already, and no socket"]


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + "/store.db"])
def test_a_path_that_is_too_long_is_told(home: Path, name: str) -> None:
    file = home / "node.toml"
    file.write_text(
        file.read_text().replace('"store.db"', f'"{name}"').replace('"manage.sock" ', f'"{name}" ')
    )

    keys = {problem.key for problem in find_problems(file)}

    assert {"node.data", "manage.socket"} <= keys


def test_the_smallest_store_has_pads_for_the_largest_chunk() -> None:
    assert STORE_BITS_MIN // 8 // 4 >= CHUNK_MAX + KEY_OCTETS
