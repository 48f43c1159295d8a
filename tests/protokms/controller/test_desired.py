"""The file of a desired state: what it says, what it may not say, what a lab fills in."""

from pathlib import Path

import pytest

from protokms.config.tables import ConfigError
from protokms.controller import desired
from protokms.controller.desired import Desired, Known, Node

NODES = "".join(
    f'[[node]]\nname = "{name}"\nurl = "https://{name}.example:18002"\nsaes = ["sae-{name}"]\n'
    for name in "abc"
)


def read(folder: Path, text: str, *known: Node) -> Desired:
    (folder / "net.toml").write_text(text)
    return desired.read(str(folder / "net.toml"), Known(known))


def problems(folder: Path, text: str, *known: Node) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as wrong:
        read(folder, text, *known)
    return [(problem.key, problem.reason) for problem in wrong.value.problems]


def test_a_desired_state_says_nodes_links_sessions_and_applications(tmp_path: Path) -> None:
    made = read(
        tmp_path,
        NODES + '[[link]]\na = "a"\nb = "b"\na_interface = 2\n[[session]]\nfrom = "a"\nto = "c"\n'
        'via = ["b"]\nbandwidth = 64\n[[application]]\nmaster = "sae-a"\nslaves = ["sae-c"]\n'
        "expires = 2027-01-01T01:00:00+01:00\n",
    )

    assert [(it.a, it.a_interface, it.b_interface, it.enabled) for it in made.links] == [
        ("a", 2, None, True)
    ]
    assert made.sessions[0].path == ("a", "b", "c")
    assert made.homes()["sae-c"] == "c"
    assert made.applications[0].expires


def test_the_file_of_a_topology_is_a_desired_state(tmp_path: Path) -> None:
    lab = [Node(name=name, url=f"https://127.0.0.1:{n}", saes=[]) for n, name in enumerate("ab", 1)]
    made = read(
        tmp_path,
        '[[node]]\nname = "a"\nhost = "192.0.2.1"\nport = 17000\nsaes = ["x"]\n'
        '[[node]]\nname = "b"\n'
        '[[link]]\na = "a"\nb = "b"\nallow_insecure_emulation = true\nfibre_km = 25\n',
        *lab,
    )

    assert [(node.url, node.saes) for node in made.nodes] == [
        ("https://127.0.0.1:1", ["x"]),
        ("https://127.0.0.1:2", []),
    ]
    assert len(made.links) == 1


def test_a_shape_is_one_too_and_a_file_without_nodes_means_all_of_the_lab(tmp_path: Path) -> None:
    lab = [Node(name=f"kms-{n}", url=f"https://127.0.0.1:{n}") for n in (1, 2, 3)]

    wires = {("kms-1", "kms-2"): 4, ("kms-3", "kms-1"): 5}
    shape = desired.read("ring:3", Known(lab, wires))
    bare = read(tmp_path, '[[link]]\na = "kms-1"\nb = "kms-3"\n', *lab)

    assert [(it.a, it.b) for it in shape.links] == [
        ("kms-1", "kms-2"),
        ("kms-2", "kms-3"),
        ("kms-3", "kms-1"),
    ]
    ends = [(it.a_interface, it.b_interface) for it in shape.links]
    assert ends == [(4, None), (None, None), (5, None)]
    assert shape.homes()["sae-3"] == "kms-3"
    assert [node.url for node in bare.nodes] == [node.url for node in lab]


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        ('[[link]]\na = "a"\nb = "d"\n', "link[0].b", "there is no node d"),
        ('[[link]]\na = "a"\nb = "a"\n', "link[0]", "joins a node with itself"),
        ('[[link]]\na = "a"\nb = "b"\n[[link]]\na = "b"\nb = "a"\n', "link", "a - b is there"),
        (
            """[[link]]
            a = "a"
            b = "b"
            a_interface = 1
            [[link]]
            a = "c"
            b = "a"
            b_interface = 1
            """,
            "link",
            "interface 1 of a is there twice",
        ),
        ('[[link]]\na = "a"\nb = "b"\na_interface = 0\n', "link[0].a_interface", ""),
        ('[[session]]\nfrom = "a"\nto = "d"\n', "session[0].to", "there is no node d"),
        ('[[session]]\nfrom = "a"\nto = "c"\nvia = ["d"]\n', "session[0].via[0]", "no node d"),
        ('[[session]]\nfrom = "a"\nto = "c"\nvia = ["a"]\n', "session[0]", "a node twice"),
        ('[[session]]\nfrom = "a"\nto = "a"\n', "session[0]", "a node twice"),
        (
            '[[session]]\nfrom = "a"\nto = "c"\n[[session]]\nfrom = "a"\nto = "c"\n',
            "session",
            "a - c is there twice",
        ),
        ('[[application]]\nmaster = "sae-a"\nslaves = []\n', "application[0]", "no slave"),
        ('[[application]]\nmaster = "x"\nslaves = ["sae-a"]\n', "application[0]", "the SAE x"),
        ('[[application]]\nmaster = "sae-a"\nslaves = ["sae-a"]\n', "application[0]", "twice"),
        (
            '[[application]]\nmaster = "sae-a"\nslaves = ["sae-b"]\nttl = -1\n',
            "application[0].ttl",
            "",
        ),
        (
            '[[application]]\nmaster = "sae-a"\nslaves = ["sae-b"]\nexpires = 2027-01-01\n',
            "application[0].expires",
            "",
        ),
        (
            """[[application]]
            master = "sae-a"
            slaves = ["sae-b"]
            expires = 0001-01-01T00:00:00+01:00
            """,
            "application[0].expires",
            "no year in UTC",
        ),
        ('[[node]]\nname = "a"\nurl = "https://d.example"\n', "node.name", "a is there twice"),
        ('[[node]]\nname = "d"\n', "node[3].url", "d has none"),
        ('[[node]]\nname = "d"\nurl = "http://d.example"\n', "node[3].url", ""),
        ('[[node]]\nname = "d"\nurl = "https://d.example/restconf"\n', "node[3].url", ""),
        ('[[node]]\nname = "d"\nurl = "https://d.example:x"\n', "node[3].url", ""),
        ('[[node]]\nname = "d"\nurl = "https://a.example:18002"\n', "node.url", "is there twice"),
        ('[[nodes]]\nname = "d"\n', "nodes", "unknown key"),
    ],
)
def test_what_cannot_be_is_told_with_its_place(
    tmp_path: Path, text: str, key: str, reason: str
) -> None:
    found = problems(tmp_path, NODES + text)

    assert [it for it in found if it[0] == key and reason in it[1]], found


def test_nobody_to_ask_is_told(tmp_path: Path) -> None:
    assert problems(tmp_path, "") == [("node", "0 nodes")]
    assert problems(tmp_path, "x") != []
    with pytest.raises(ConfigError):
        desired.read(str(tmp_path / "nothing.toml"))


@pytest.mark.parametrize("url", ["", "x", "http://a", "https://", "https://[::1", "https://u@a/"])
def test_what_is_no_url_of_a_front_end_is_told(url: str) -> None:
    with pytest.raises(ConfigError, match="no https URL"):
        desired.check_urls(["https://a.example:1/", url])
