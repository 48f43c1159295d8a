"""A RESTCONF client that nobody here has written reads and writes a node, with a certificate."""

import json
import os
import shutil
import subprocess
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protokms.lab import topology
from tests.processes.real_lab import RealLab, eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_200)]

PINNED = ("ansible==11.6.0", "ansible-core==2.18.19")
"""It brings the collection `ansible.netcommon` 7.2.0."""
INSTALL_S, PLAY_S = 600.0, 500.0
LINK_ID = "c3d7f0aa-8d3c-4f1d-b7d9-000000000001"
NODE = "/data/etsi-qkd-sdn-node:qkd_node"
LINK = f"{NODE}/qkd_links/qkd_link={LINK_ID}"


@pytest.fixture
def ansible(tmp_path: Path) -> Iterator[Path]:
    """The folder of its commands, in an environment of its own; it is gone afterwards."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    pip = [str(home / "bin/pip"), "install", "--quiet", "--no-compile", *PINNED]
    made = subprocess.run(pip, capture_output=True, text=True, check=False, timeout=INSTALL_S)
    if made.returncode:
        why = (made.stderr.strip().splitlines() or ["pip has failed"])[-1]
        pytest.skip(f"{', '.join(PINNED)} cannot be installed here: {why}")
    yield home / "bin"
    shutil.rmtree(home)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[RealLab]:
    """A bare node; its neighbour does not run."""
    made = RealLab(tmp_path / "lab", topology.parse("chain:2"), bare=True)
    try:
        made.launch("kms-1")
        eventually(lambda: "node_started" in made.events("kms-1"), "kms-1 is up")
        yield made
    finally:
        made.down()


def play(ansible: Path, bench: RealLab, *tasks: dict[str, Any]) -> list[dict[str, Any]]:
    """Run tasks on kms-1, as the controller of its lab; return what came of each."""
    controller, url = bench.made.controller, bench.made.node("kms-1").etsi015
    assert controller
    assert url
    host = {
        "ansible_connection": "ansible.netcommon.httpapi",
        "ansible_network_os": "ansible.netcommon.restconf",
        "ansible_host": "127.0.0.1",
        "ansible_httpapi_port": int(url.rpartition(":")[2]),
        "ansible_httpapi_use_ssl": True,
        "ansible_httpapi_use_proxy": False,
        "ansible_httpapi_ca_path": str(bench.folder / bench.made.ca),
        "ansible_httpapi_client_cert": str(bench.folder / controller.cert),
        "ansible_httpapi_client_key": str(bench.folder / controller.key),
        "ansible_user": "nobody",  # it wants both, and the node does not look at them
        "ansible_password": "none",
        "ansible_command_timeout": 120,
    }
    inventory, book = bench.folder / "inventory.json", bench.folder / "play.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"kms-1": host}}}))
    book.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    said = subprocess.run(
        [str(ansible / "ansible-playbook"), "-i", str(inventory), str(book)],
        capture_output=True,
        check=False,
        timeout=PLAY_S,
        env={
            "PATH": f"{ansible}:{os.environ['PATH']}",
            "HOME": str(bench.folder),  # where it keeps its sockets and files
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        },
        stdin=subprocess.DEVNULL,
    )
    assert said.returncode == 0, (said.stdout[-3_000:], said.stderr[-3_000:])
    (found,) = json.loads(said.stdout)["plays"]
    return [task["hosts"]["kms-1"] for task in found["tasks"]]


def get(path: str, **more: str) -> dict[str, Any]:
    return {"ansible.netcommon.restconf_get": {"path": path, **more}}


def config(method: str, body: Any = None) -> dict[str, Any]:
    content = {} if body is None else {"content": json.dumps(body)}
    return {"ansible.netcommon.restconf_config": {"path": LINK, "method": method, **content}}


def test_ansible_reads_and_writes_a_node_over_a_client_certificate(
    ansible: Path, bench: RealLab
) -> None:
    here, there = (bench.made.node(name).id for name in ("kms-1", "kms-2"))
    link = {
        "qkdl_id": LINK_ID,
        "qkdl_enable": True,
        "qkdl_type": "etsi-qkd-node-types:PHYS",
        "qkdl_local": {"qkdn_id": here, "qkdi_id": 1},
        "qkdl_remote": {"qkdn_id": there},
    }
    off = {"qkdl_id": LINK_ID, "qkdl_enable": False}
    name = "etsi-qkd-sdn-node:qkd_link"

    before, made, patched, after, gone, nothing = play(
        ansible,
        bench,
        get(NODE, content="config"),
        config("put", {name: [link]}),
        config("patch", {name: [off]}),
        get(LINK),
        config("delete"),
        config("delete"),
    )

    node = before["response"]["etsi-qkd-sdn-node:qkd_node"]
    assert node["qkdn_id"] == here
    assert "qkd_links" not in node
    assert (made["changed"], patched["changed"]) == (True, True)
    (told,) = after["response"][name]
    assert {leaf: told[leaf] for leaf in link} == link | off
    assert told["qkdl_status"] == "etsi-qkd-node-types:OFF"
    assert (gone["changed"], nothing["changed"]) == (True, False)
