"""Two nodes over two KMEs that nobody here wrote: `qkd_kme_server`, in Rust.

`QKD_KME_SERVER=/path/to/qkd_kme_server pytest -m "" tests/processes/test_real_kme_server.py`;
tried with revision 4d53a3d of that software. Its two KMEs read blocks of raw key from folders.
"""

import json
import os
import random
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12

from tests.kit.authority import Authority
from tests.processes.real_lab import RealLab, eventually, exchange, pair

SERVER = os.environ.get("QKD_KME_SERVER", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not SERVER, reason="QKD_KME_SERVER names no built copy of that software"),
]
SERIAL_OCTETS = 20
KEY_OCTETS = 32
BLOCK_KEYS = 2_000
PASSWORD = "password"
LINK = """
[[link]]
peer = "kms-{far}"
module = "etsi014"
role = "{role}"
[link.etsi014]
url = "https://localhost:{port}"
far_sae = "{far}"
sae = "{near}"
certificate = "{home}/sae-{near}.crt"
key = "{home}/sae-{near}.key"
ca = "{home}/ca.crt"
quirks = ["not_found"]
"""


class Kmes:
    """Two of these servers, each with one SAE, and the folders where they look for raw keys."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        self.home, self.ports = home, [_free() for _ in range(4)]
        self._dice, self._blocks = random.Random(14), 0
        self._authority = Authority(home)
        for name in ("server", "kme-1", "kme-2"):
            self._authority.issue(name, dns=("localhost",))
        self._serials = [self._issue(f"sae-{end}") for end in (1, 2)]
        for end in (1, 2):
            (home / f"sae-{end}.key").chmod(0o600)
            self._bundle(f"kme-{end}")
            for folder in (f"own-{end}", f"raw-{end}"):
                (home / folder).mkdir()
            (home / f"kme-{end}.json5").write_text(json.dumps(self._config(end)))
        self.block()

    def _issue(self, name: str) -> list[int]:
        """Issue a certificate with a serial of the only length that the software takes."""
        while True:
            made = self._authority.issue(name)
            octets = made.serial_number.to_bytes((made.serial_number.bit_length() + 8) // 8, "big")
            if len(octets) == SERIAL_OCTETS:
                return list(octets)

    def _bundle(self, name: str) -> None:
        key = serialization.load_pem_private_key((self.home / f"{name}.key").read_bytes(), None)
        made = x509.load_pem_x509_certificate((self.home / f"{name}.crt").read_bytes())
        lock = serialization.BestAvailableEncryption(PASSWORD.encode())
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        octets = pkcs12.serialize_key_and_certificates(name.encode(), key, made, None, lock)
        (self.home / f"{name}.pfx").write_bytes(octets)

    def _config(self, end: int) -> dict[str, object]:
        home, far = self.home, 3 - end
        server = {
            "ca_client_cert_path": f"{home}/ca.crt",
            "server_cert_path": f"{home}/server.crt",
            "server_key_path": f"{home}/server.key",
        }
        places = [f"127.0.0.1:{port}" for port in self.ports[2 * end - 2 : 2 * end]]
        saes = [{"id": 1, "kme_id": 1}, {"id": 2, "kme_id": 2}]
        saes[end - 1]["https_client_certificate_serial"] = self._serials[end - 1]  # type: ignore[assignment]
        return {
            "this_kme": {
                "id": end,
                "nickname": f"kme-{end}",
                "db_uri": ":memory:",
                "delete_key_file_after_read": False,
                "key_directory_to_watch": f"{home}/own-{end}",
                "saes_https_interface": {"listen_address": places[0], **server},
                "kmes_https_interface": {"listen_address": places[1], **server},
            },
            "other_kmes": [
                {
                    "id": far,
                    "key_directory_to_watch": f"{home}/raw-{end}",
                    "inter_kme_bind_address": f"localhost:{self.ports[2 * far - 1]}",
                    "ignore_system_proxy_settings": True,
                    "https_client_authentication_certificate": f"{home}/kme-{end}.pfx",
                    "https_client_authentication_certificate_password": PASSWORD,
                }
            ],
            "saes": saes,
        }

    def block(self) -> None:
        """Leave a file of raw key for both, under the same name."""
        self._blocks += 1
        octets = self._dice.randbytes(KEY_OCTETS * BLOCK_KEYS)
        for end in (1, 2):
            (self.home / f"raw-{end}/{self._blocks}.cor").write_bytes(octets)

    def start(self, end: int) -> "subprocess.Popen[bytes]":
        """Start one of them; what it says goes to a file."""
        with (self.home / f"kme-{end}.log").open("ab") as log:
            return subprocess.Popen(
                [SERVER, str(self.home / f"kme-{end}.json5")],
                stdout=log,
                stderr=log,
                cwd=self.home,
                # Its client knows no CA but those of the system; both are on loopback.
                env=os.environ | {"QKD_KME_SERVER_DANGER_INTER_KME_IGNORE_CERT": "Y"},
            )


def _free() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[RealLab]:
    kmes = Kmes(tmp_path / "kmes")
    made = RealLab(tmp_path / "lab", pair())
    for near, role in ((1, "sender"), (2, "receiver")):
        port = kmes.ports[2 * near - 2]
        link = LINK.format(near=near, far=3 - near, role=role, port=port, home=kmes.home)
        file = made.folder / f"kms-{near}/node.toml"
        text, changed = re.subn(r"(?ms)^\[\[link\]\].*?(?=^\[|\Z)", link, file.read_text())
        assert changed == 1
        file.write_text(text)
    with ExitStack() as over:
        for end in (1, 2):
            process = over.enter_context(kmes.start(end))
            over.callback(process.kill)
        for port in kmes.ports:
            eventually(lambda port=port: _answers(port), "a KME listens")  # type: ignore[misc]
        yield made
        made.down()


def test_keys_of_two_kmes_of_others_are_keys_at_both_nodes(lab: RealLab) -> None:
    lab.up()
    lab.await_keys()

    with lab.client("sae-1") as near, lab.client("sae-2") as far:
        assert len(exchange(near, far, 16)) == 16
    for node in ("kms-1", "kms-2"):
        assert lab.metric(node, "protokms_batches_decided_total", decision="discarded") == 0
        assert lab.metric(node, "protokms_link_device_errors_total", kind="malformed") == 0


def test_kmes_without_keys_leave_the_link_quiet_and_break_nothing(lab: RealLab) -> None:
    lab.up()
    lab.await_keys()
    eventually(lambda: "quiet: " in lab.look("kms-1", "/ready"), "all its keys were taken")

    with lab.client("sae-1") as near, lab.client("sae-2") as far:
        assert len(exchange(near, far, 16)) == 16
