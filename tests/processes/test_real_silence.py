"""A whole story, and no bit of a key in logs, metrics, errors, files, processes (P6)."""

import base64
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from protokms.config.keyfiles import read_key
from protokms.config.load import load
from tests.processes.real_ears import Ears, forms
from tests.processes.real_lab import RealLab, eventually, protokms

pytestmark = pytest.mark.slow

Keys = dict[str, bytes]


class Story:
    """Everything that was said on the way, and the keys that nobody else may know."""

    def __init__(self, bench: RealLab) -> None:
        self.bench = bench
        self.keys: Keys = {}
        self.said: dict[str, bytes] = {}
        self.answers = b""
        self.statuses: set[int] = set()

    def call(self, sae: str, verb: str, path: str, body: Any = None) -> tuple[int, Keys]:
        """Ask over HTTPS; keep the keys of a key container, and the words of everything else."""
        octets = json.dumps(body).encode() if isinstance(body, dict) else body
        with self.bench.https(sae) as client:
            client.request(verb, f"/api/v1/keys/{path}", octets)
            answer = client.getresponse()
            text = answer.read()
        self.say(f"head of {verb} {path}", str(answer.getheaders()).encode())
        self.statuses.add(answer.status)
        if answer.status == 200 and b'"keys"' in text:
            rows = json.loads(text)["keys"]
            got = {row["key_ID"]: base64.b64decode(row["key"]) for row in rows}
            self.keys |= got
            self.answers += text
            return 200, got
        self.say(f"body of {verb} {path}", text)
        return answer.status, {}

    def say(self, where: str, text: bytes) -> None:
        """Note what was said."""
        self.said[f"{len(self.said)}: {where}"] = text

    def look(self) -> None:
        """Note all that an observer on the host sees of the nodes that run."""
        for node in self.bench.nodes:
            for path in ("/metrics", "/health", "/ready"):
                self.say(f"{node} {path}", self.bench.look(node, path).encode())
            pid = self.bench.process(node).pid
            for name in ("cmdline", "environ", "status"):
                try:
                    self.say(f"{node} {name}", Path(f"/proc/{pid}/{name}").read_bytes())
                except PermissionError:
                    assert name == "environ"

    def run(self, *args: str) -> str:
        """Run a command of `protokms`; return what it prints."""
        done = protokms(*args)
        self.say(" ".join(args[:2]), done.stdout + done.stderr)
        assert done.returncode == 0, (args, done.stderr)
        return done.stdout.decode()

    def sae(self, sae: str, what: str, *args: str) -> str:
        """Run `protokms sae`."""
        bench = self.bench
        row = next(row for row in bench.made.saes if row.id == sae)
        files = {"--ca": bench.made.ca, "--cert": row.cert, "--key": row.key}
        options = [
            text for name, file in files.items() for text in (name, str(bench.folder / file))
        ]
        peer = next(other.id for other in bench.made.saes if other.id != sae)
        url = bench.made.node(row.node).etsi014
        return self.run("sae", what, *args, "--url", url, *options, "--peer", peer)


def deliver(story: Story) -> None:
    """Every way in which keys are got and fetched."""
    gets = ("enc_keys", "enc_keys?number=3&size=512", "enc_keys/number/2/size/128")
    for path in gets:
        for name in story.call("sae-1", "GET", f"sae-2/{path}")[1]:
            assert story.call("sae-2", "GET", f"sae-1/dec_keys?key_ID={name}")[1]
    wanted = {"number": 16, "size": 1024, "extension_optional": [{"x": "y"}]}
    made = story.call("sae-2", "POST", "sae-1/enc_keys", wanted)[1]
    ids = {"key_IDs": [{"key_ID": name} for name in made]}
    assert story.call("sae-1", "POST", "sae-2/dec_keys", ids)[1] == made
    printed = story.sae("sae-1", "enc", "--number", "2", "--json")
    story.sae("sae-2", "dec", json.loads(printed)["keys"][0]["key_ID"])
    left = json.loads(printed)["keys"][1]["key_ID"]
    assert story.call("sae-2", "GET", f"sae-1/dec_keys?key_ID={left}")[1]


def go_wrong(story: Story) -> None:
    """Errors of all kinds, some by callers who are careless with their own keys."""
    made = story.call("sae-1", "GET", "sae-2/enc_keys?number=2")[1]
    name, key = next(iter(made.items()))
    assert story.call("sae-2", "GET", f"sae-1/dec_keys?key_ID={name}")[0] == 200
    again = f"sae-1/dec_keys?key_ID={name}"
    assert story.call("sae-2", "GET", again)[0] == 400
    assert story.call("sae-1", "GET", again)[0] == 400
    assert story.call("sae-2", "GET", f"nobody/dec_keys?key_ID={name}")[0] == 400
    assert story.call("sae-1", "GET", "sae-2/enc_keys?size=9")[0] == 400
    assert story.call("sae-1", "POST", "sae-2/enc_keys", b"{")[0] == 400
    assert story.call("sae-1", "DELETE", "sae-2/enc_keys")[0] == 405
    assert story.call("sae-1", "GET", "sae-2/nothing")[0] == 404
    assert story.call("sae-1", "POST", "sae-2/enc_keys", b"{" + b" " * 99_999)[0] == 413
    with story.bench.https("sae-2", node="kms-1") as thief:
        thief.request("GET", f"/api/v1/keys/sae-1/dec_keys?key_ID={name}")
        assert thief.getresponse().status == 401
    careless = base64.b64encode(key).decode()
    story.call("sae-2", "GET", f"sae-1/dec_keys?key_ID={quote(careless, safe='')}")
    story.call("sae-2", "POST", "sae-1/dec_keys", {"key_IDs": [{"key_ID": careless}]})
    with story.bench.https("sae-1") as echo:  # an unknown SAE is quoted, to whoever named it
        echo.request("GET", f"/api/v1/keys/{quote(careless, safe='')}/status")
        assert echo.getresponse().status == 400


def disturb(story: Story) -> None:
    """Noise at every port that a node listens at."""
    made = load(story.bench.folder / "kms-1/node.toml")
    ends = [made.transport.bind, made.metrics.bind, made.etsi014.bind if made.etsi014 else None]
    for end in filter(None, ends):
        with socket.create_connection((end.host, end.port), 10.0) as noise:
            noise.sendall(bytes(range(256)) + b"\r\n\r\n")
    link = story.bench.made.node("kms-2")
    bind = load(story.bench.folder / link.config).links[0].bind
    assert bind
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
        noise.sendto(bytes(range(256)), (bind.host, bind.port))


def restart(story: Story) -> None:
    """A crash with keys on their way, an orderly end, a reload."""
    bench = story.bench
    made = story.call("sae-1", "POST", "sae-2/enc_keys", {"number": 4})[1]
    bench.kill("kms-2")
    eventually(lambda: story.call("sae-1", "GET", "sae-2/enc_keys")[0] == 503, "a refusal")
    bench.start("kms-2")
    ids = {"key_IDs": [{"key_ID": name} for name in made]}
    assert story.call("sae-2", "POST", "sae-1/dec_keys", ids)[1] == made
    assert bench.terminate("kms-1") == 0
    bench.start("kms-1")
    assert bench.process("kms-1").signal(1)
    eventually(lambda: "reloaded" in bench.events("kms-1"), "it reloads")
    bench.await_keys()


def test_no_bit_of_a_key_is_said_or_written_where_it_does_not_belong(
    bench: RealLab, tmp_path: Path
) -> None:
    story = Story(bench)

    deliver(story)
    go_wrong(story)
    disturb(story)
    story.look()
    restart(story)
    deliver(story)
    kept = story.call("sae-1", "POST", "sae-2/enc_keys", {"number": 8})[1]
    for node in bench.nodes:  # while keys lie there, sealed
        bench.copy_store(node, tmp_path / f"copy-{node}")
    assert len(kept) == 8
    story.look()
    story.run("lab", "status", str(bench.folder), "--json")
    story.run("node", str(bench.folder / "kms-1/node.toml"), "--check")
    story.run("lab", "down", str(bench.folder))
    story.run("store", "check", "kms-2", "--config", str(bench.folder / "kms-1/node.toml"))

    files = {str(file): file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    ears = Ears(story.keys)
    assert {200, 400, 404, 405, 413, 503} <= story.statuses
    assert ears.heard(story.answers) == set(story.keys)  # they can be heard where they belong
    assert ears.found(story.said) == {}
    assert ears.found(files) == {}


def test_no_secret_of_a_node_is_said(bench: RealLab) -> None:
    story = Story(bench)
    secrets = {str(file): read_key(file) for file in bench.folder.glob("*/*.key") if raw(file)}
    secrets |= {str(file): read_key(file) for file in bench.folder.glob("*/links/*.key")}

    deliver(story)
    disturb(story)
    story.look()
    story.run("lab", "down", str(bench.folder))

    spoken = story.said | {node: bench.log(node).encode() for node in bench.nodes}
    assert len(secrets) >= 6
    assert Ears(secrets).found(spoken) == {}


def raw(file: Path) -> bool:
    return file.name in {"node.key", "signing.key"} or file.name.endswith(".seal.key")


def test_ears_hear_a_key_in_every_form() -> None:
    key = bytes(range(150, 182))

    heard = [Ears({"k": key}).heard(b"..." + form + b"...") for form in forms(key)]
    anywhere = [Ears({"k": key}).heard(base64.b64encode(bytes(n) + key + b"end")) for n in range(9)]

    assert heard == [{"k"}] * len(heard)
    assert anywhere == [{"k"}] * 9
    assert Ears({"k": key}).heard(bytes(32) + key[:7]) == set()
