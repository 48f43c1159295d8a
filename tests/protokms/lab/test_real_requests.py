"""Requests as devices send them, to nodes that run: TLS, sessions and links are real."""

import base64
import json
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from protokms.client import SaeClient, SaeError
from protokms.lab import demo, lab, topology
from protokms.lab import run as lab_run
from protokms.lab.lab import Lab
from transport.https import HttpsConnection

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
SOON_S = 20.0


@contextmanager
def master(folder: Path, made: Lab, sae: str) -> Iterator[SaeClient]:
    """Be an SAE of a lab."""
    row = next(row for row in made.saes if row.id == sae)
    with demo.client(folder, made, row) as client:
        yield client


def test_who_only_asks_for_the_status_of_a_distant_pair_gets_keys_to_count(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    made = lab.init(folder, topology.parse("chain:3"))

    with demo.running(folder, made), master(folder, made, "sae-1") as sae:
        demo.await_stock(sae, "sae-3", 1, SOON_S)

        status = sae.status("sae-3")
        assert status["max_key_count"] >= status["stored_key_count"] >= 1
        assert sae.enc_keys("sae-3")


def test_saes_of_any_name_share_keys(tmp_path: Path) -> None:
    names = ("router:7/0 [a]", "größe %2F?", "x" * 291)
    file, folder = tmp_path / "saes.toml", tmp_path / "lab"
    file.write_text(
        f'[[node]]\nname = "a"\nsaes = {json.dumps(names[:1])}\n'
        f'[[node]]\nname = "b"\nsaes = {json.dumps(names[1:])}\n'
        '[[link]]\na = "a"\nb = "b"\n'
    )
    made = lab.init(folder, topology.parse(str(file)))

    with demo.running(folder, made), master(folder, made, names[0]) as near:
        for name in names[1:]:
            with master(folder, made, name) as far:
                sent = demo.await_keys(near, name, 2, SOON_S)
                assert far.dec_keys(names[0], [key.key_id for key in sent]) == sent


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpsConnection]:
    """A bare connection of sae-1 to a node with sae-1 and sae-2, which need no link."""
    folder = tmp_path_factory.mktemp("door")
    node = topology.NodePlan(name="kms-1", saes=["sae-1", "sae-2"])
    made = lab.init(folder / "lab", topology.Topology(nodes=[node], links=[]))
    row = next(row for row in made.saes if row.id == "sae-1")
    tls = ssl.create_default_context(cafile=folder / "lab" / made.ca)
    tls.load_cert_chain(folder / "lab" / row.cert, folder / "lab" / row.key)
    url = urlsplit(made.node("kms-1").etsi014)
    with demo.running(folder / "lab", made):
        client = HttpsConnection(str(url.hostname), url.port, timeout=30.0, context=tls)
        yield client
        client.close()


ASKED: dict[str, tuple[str, Any, list[int] | str]] = {
    # case: (query, body), and the bits of each key that comes, or what the refusal names
    "the query of an on-box script": ("key_size=512", None, [512]),
    "size and key_size that differ": ("size=128&key_size=512", None, "size and key_size differ"),
    "number in the query, size in the body": ("number=2", {"size": 128}, [128, 128]),
    "numbers that differ": ("number=2", {"number": 3}, "number"),
    "a slip in a member": ("", {"numbr": 2}, "numbr"),
    "a member that is none": ("", {"number": 2, "colour": "red"}, [256, 256]),
    "null for a list": ("", {"number": 1, "extension_mandatory": None}, [256]),
    "the slave as additional slave": ("", {"additional_slave_SAE_IDs": ["sae-2"]}, "the slave SAE"),
    "no additional slave": ("", {"additional_slave_SAE_IDs": []}, "additional_slave_SAE_IDs"),
    "one additional slave twice": ("", {"additional_slave_SAE_IDs": ["x", "x"]}, "twice"),
}


@pytest.mark.parametrize("case", ASKED)
def test_wishes_are_met_or_refused_in_words(door: HttpsConnection, case: str) -> None:
    query, body, right = ASKED[case]
    path = "/api/v1/keys/sae-2/enc_keys" + (f"?{query}" if query else "")

    door.request("GET" if body is None else "POST", path, json.dumps(body) if body else None)
    answer = door.getresponse()
    said = json.loads(answer.read())

    if isinstance(right, str):
        assert (answer.status, right in said["message"]) == (400, True), said
    else:
        assert [8 * len(base64.b64decode(key["key"])) for key in said["keys"]] == right


def test_one_distant_site_too_many_is_asked_for_later(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    made = lab.init(folder, topology.parse("star:4"))
    with (folder / "kms-2/node.toml").open("a") as file:
        file.write("\n[relay]\nmax_sessions_per_sae = 1\n")

    with demo.running(folder, made), master(folder, made, "sae-2") as sae:
        demo.await_keys(sae, "sae-3", timeout=SOON_S)
        refused = refusal(sae, "sae-4")

        assert refused.status == 503
        assert int(refused.retry_after) > 0
        status = sae.status("sae-4")
        assert (status["stored_key_count"], status["max_key_count"]) == (0, 0)


def test_the_lines_of_the_readme_bring_the_same_key_twice(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```console\n((?:(?!```).)*curl.*?)```", text, re.DOTALL)
    lines = [line.removeprefix("$ ") for line in block.splitlines()]
    assert [line.partition(" ")[0] for line in lines].count("curl") == 3
    id_ = "$(printf %s \"$sent\" | grep -Eo '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}')"
    script = [f"PATH={Path(sys.executable).parent}:$PATH"]
    for line in lines[1:]:
        asked = line.replace("KEY_ID", id_)
        kept = f'sent=$({asked}); printf %s "$sent"' if "enc_keys" in line else asked
        script.append(f"{kept}; echo")

    bash = ["bash", "-eu", "-c", "\n".join(script)]
    try:
        run = subprocess.run(
            bash, cwd=tmp_path, capture_output=True, check=False, timeout=120, text=True
        )
    finally:
        if (tmp_path / "lab/lab.json").exists():
            lab_run.down(tmp_path / "lab", 5.0)

    assert run.returncode == 0, run.stderr
    found = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    status, sent, fetched = found
    assert status["stored_key_count"] >= 1
    assert len(sent["keys"]) == 1
    assert sent == fetched


def test_the_lines_for_consumers_bring_the_same_key_twice(tmp_path: Path) -> None:
    text = (ROOT / "docs/consumers.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    enc, dec = (line.partition("#")[0] for line in block.splitlines())
    folder = tmp_path / "lab"
    made = lab.init(folder, topology.parse("chain:3"))

    def said(line: str) -> Any:
        command = [sys.executable, "-m", "protokms", *line.split()[1:]]
        run = subprocess.run(
            command, cwd=tmp_path, capture_output=True, check=False, timeout=60, text=True
        )
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)

    with demo.running(folder, made):
        with master(folder, made, "sae-1") as sae:
            demo.await_stock(sae, "sae-3", 1, SOON_S)
        sent = said(enc)
        fetched = said(dec.replace("KEY_ID", sent["keys"][0]["key_ID"]))

    assert len(sent["keys"]) == 1
    assert sent == fetched


def refusal(sae: SaeClient, slave: str) -> SaeError:
    """Ask for keys that are refused."""
    with pytest.raises(SaeError) as caught:
        sae.enc_keys(slave)
    return caught.value
