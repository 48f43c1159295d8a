"""Topologies: shapes by name, or a file that says more."""

from pathlib import Path

import pytest

from protokms.config.tables import ConfigError
from protokms.lab import topology

TWO_HOSTS = """
[[node]]
name = "berlin"
host = "192.0.2.1"
bind = "0.0.0.0"
port = 17000
saes = ["alice"]
[[node]]
name = "frankfurt"
host = "192.0.2.2"
saes = ["bob", "carol"]
[[node.process]]
name = "front"
actors = ["etsi014"]
[[link]]
a = "berlin"
b = "frankfurt"
rate_bit_s = 1e6
allow_insecure_emulation = true
"""

FRONT = 'actors = ["etsi014"]'
FRONTS = """actors = ["etsi014/1"]
[[node.process]]
name = "front-2"
actors = ["etsi014/2"]
host = "192.0.2.3\"
"""


def edges(text: str) -> list[str]:
    return [f"{link.a[4:]}{link.b[4:]}" for link in topology.parse(text).links]


@pytest.mark.parametrize(
    ("shape", "links"),
    [
        ("chain:1", []),
        ("chain:3", ["12", "23"]),
        ("ring:3", ["12", "23", "31"]),
        ("star:4", ["12", "13", "14"]),
        ("mesh:3", ["12", "13", "23"]),
    ],
)
def test_a_shape_has_the_links_it_is_named_for(shape: str, links: list[str]) -> None:
    assert edges(shape) == links


def test_sae_i_is_at_kms_i() -> None:
    made = topology.parse("chain:3")

    assert [(node.name, node.saes) for node in made.nodes] == [
        (f"kms-{i}", [f"sae-{i}"]) for i in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    "text", ["ring:2", "chain:0", "mesh:65", "tree:3", "chain", "", "a.toml", "x" * 5000]
)
def test_what_is_no_topology_is_told(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        topology.parse(text)

    assert caught.value.problems[0].remedy


def test_a_file_says_hosts_ports_processes_and_options(tmp_path: Path) -> None:
    file = tmp_path / "two.toml"
    file.write_text(TWO_HOSTS)

    made = topology.parse(str(file))

    assert [(node.host, node.listens, node.port) for node in made.nodes] == [
        ("192.0.2.1", "0.0.0.0", 17000),
        ("192.0.2.2", "192.0.2.2", None),
    ]
    assert made.nodes[1].processes[0].actors == ["etsi014"]
    assert made.links[0].options() == {"rate_bit_s": 1e6, "allow_insecure_emulation": True}


MIXED = """
[[node]]
name = "old"
host = "192.0.2.1"
[[node]]
name = "new"
host = "2001:db8::1"
[[node]]
name = "both"
host = "both.example"
bind = "::"
[[link]]
a = "old"
b = "new"
allow_insecure_emulation = true
[[link]]
a = "new"
b = "both"
allow_insecure_emulation = true
[[link]]
a = "both"
b = "old"
"""


def test_hosts_that_do_not_fit_their_links_are_all_told(tmp_path: Path) -> None:
    file = tmp_path / "mixed.toml"
    file.write_text(MIXED)

    with pytest.raises(ConfigError) as wrong:
        topology.parse(str(file))

    assert [(it.key, it.reason) for it in wrong.value.problems] == [
        ("link[0]", "old listens on 192.0.2.1, which reaches no 2001:db8::1 of new"),
        ("link[0]", "new listens on 2001:db8::1, which reaches no 192.0.2.1 of old"),
        (
            "link[2]",
            "an emulated link carries key bits in clear, and both is not on loopback",
        ),
        ("link[2]", "both listens on ::, which reaches no 192.0.2.1 of old"),
    ]


def test_a_host_on_loopback_has_no_link_to_another_host(tmp_path: Path) -> None:
    file = tmp_path / "loopback.toml"
    hosts = {"here": "127.0.0.1", "there": "192.0.2.1", "named": "there.example"}
    nodes = "".join(f'[[node]]\nname = "{name}"\nhost = "{at}"\n' for name, at in hosts.items())
    nodes = nodes.replace('"there.example"', '"there.example"\nbind = "0.0.0.0"')
    links = "".join(
        f'[[link]]\na = "here"\nb = "{peer}"\nallow_insecure_emulation = true\n'
        for peer in ("there", "named")
    )
    file.write_text(nodes + links)

    with pytest.raises(ConfigError) as wrong:
        topology.parse(str(file))

    reason = "here is on loopback (127.0.0.1), where there at 192.0.2.1 cannot reach it"
    assert [(it.key, it.reason) for it in wrong.value.problems] == [("link[0]", reason)]


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('a = "berlin"', 'a = "paris"', "link[0].a"),
        ('a = "berlin"', 'a = "frankfurt"', "link[0]"),
        ("allow_insecure_emulation = true", "", "link[0]"),
        ('name = "frankfurt"', 'name = "berlin"', "node"),
        ('name = "frankfurt"', 'name = "saes"', "node[1].name"),
        ('name = "frankfurt"', 'name = "Frank Furt"', "node[1].name"),
        ('"carol"', '"alice"', "node.saes"),
        ('"carol"', '""', "node[1].saes[1]"),
        ('"carol"', '".."', "node[1].saes[1]"),
        ('"carol"', r'"a\nb"', "node[1].saes[1]"),
        ('"carol"', f'"{"c" * 513}"', "node[1].saes[1]"),
        ('"carol"', f'"{"ä" * 257}"', "node[1].saes[1]"),
        ('"carol"', "7", "node[1].saes[1]"),
        ('host = "192.0.2.2"', 'host = "192.0.2.256"', "node[1].host"),
        ('host = "192.0.2.2"', 'host = "fe80::1%eth0"', "node[1].host"),
        ('host = "192.0.2.2"', 'host = "a b"', "node[1].host"),
        ('host = "192.0.2.2"', 'host = ""', "node[1].host"),
        ('host = "192.0.2.2"', 'host = "a..b"', "node[1].host"),
        ('host = "192.0.2.2"', 'host = "a-.b"', "node[1].host"),
        ('host = "192.0.2.2"', 'host = "_a.b"', "node[1].host"),
        ('host = "192.0.2.2"', 'host = "a.b."', "node[1].host"),
        ('host = "192.0.2.2"', 'host = "größe.example"', "node[1].host"),
        ('host = "192.0.2.2"', f'host = "{"a" * 64}.example"', "node[1].host"),
        ('host = "192.0.2.2"', f'host = "{"a." * 127}"', "node[1].host"),
        ('bind = "0.0.0.0"', 'bind = "*"', "node[0].bind"),
        ('bind = "0.0.0.0"', 'bind = "localhost"', "node[0].bind"),
        ('host = "192.0.2.2"', 'host = "localhost"', "node[1].bind"),
        ('host = "192.0.2.2"', 'host = "0.0.0.0"', "node[1].host"),
        ('host = "192.0.2.2"', 'hots = "192.0.2.2"', "node[1].hots"),
        ("port = 17000", "port = 0", "node[0].port"),
        (FRONT, f'{FRONT}\nhost = "0.0.0.0"', "node[1].process[0].host"),
        (FRONT, f'{FRONT}\nhost = "a b"', "node[1].process[0].host"),
        (FRONT, f'{FRONT}\nhost = "front.example"', "node[1].process[0].bind"),
        (FRONT, FRONTS, "node[1].process[1].host"),
        ("rate_bit_s = 1e6", "rate_bit_s = -1", "link[0].rate_bit_s"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_at_its_key(
    tmp_path: Path, old: str, new: str, key: str
) -> None:
    file = tmp_path / "two.toml"
    file.write_text(TWO_HOSTS.replace(old, new))

    with pytest.raises(ConfigError) as caught:
        topology.parse(str(file))

    assert key in [problem.key for problem in caught.value.problems]
    assert "regex" not in str(caught.value)
    assert all(problem.remedy for problem in caught.value.problems)


@pytest.mark.parametrize(
    "host",
    ["kms_1.example", "a_.b", "1kms", "KMS-1", f"{'a' * 63}.{'b' * 63}.example", "192.0.2.9"],
)
def test_a_host_is_what_dns_and_ip_allow(tmp_path: Path, host: str) -> None:
    file = tmp_path / "two.toml"
    bound = f'host = "{host}"\nbind = "0.0.0.0"'
    file.write_text(TWO_HOSTS.replace('host = "192.0.2.2"', bound))

    assert topology.parse(str(file)).nodes[1].host == host


@pytest.mark.parametrize(
    "sae", ["a:b/c d", "../carol", "größe", "c" * 512, "[bold]", "urn:x%2F", " "]
)
def test_the_id_of_an_sae_is_just_a_text(tmp_path: Path, sae: str) -> None:
    file = tmp_path / "two.toml"
    file.write_text(TWO_HOSTS.replace('"carol"', f'"{sae}"'))

    assert topology.parse(str(file)).nodes[1].saes[1] == sae


@pytest.mark.parametrize("count", [0, 65])
def test_a_file_has_1_to_64_nodes(tmp_path: Path, count: int) -> None:
    file = tmp_path / "many.toml"
    file.write_text("node = [" + ", ".join(f'{{name = "n{i}"}}' for i in range(count)) + "]")

    with pytest.raises(ConfigError, match=f"{count} nodes"):
        topology.parse(str(file))


def test_spread_places_front_end_and_links_in_processes_of_their_own() -> None:
    made = topology.spread(topology.parse("chain:3"))

    placed = [[(one.name, one.actors) for one in node.processes] for node in made.nodes]
    assert placed[1] == [
        ("front", ["etsi014"]),
        ("links", ["quantum_link/kms-1", "quantum_link/kms-3"]),
    ]


def test_many_links_on_one_machine_take_their_time() -> None:
    few, many = topology.parse("chain:9"), topology.parse("ring:20")

    assert {link.round_s for link in few.links} == {None}
    assert {link.round_s for link in many.links} == {0.025}
