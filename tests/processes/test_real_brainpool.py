"""Clients with keys on Brainpool curves: a real node that starts itself anew for them."""

import datetime
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from protokms.config import brainpool
from protokms.lab.topology import NodePlan, Topology
from tests.processes.real_lab import PATIENCE_S, ROOT, RealLab

pytestmark = pytest.mark.slow

NAMES = [curve.name for curve in brainpool.CURVES]
CLIENT = """
import ssl, sys
from transport.https import connect
host, port, ca, crt, key, version = sys.argv[1:]
made = ssl.create_default_context(cafile=ca)
made.load_cert_chain(crt, key)
made.minimum_version = made.maximum_version = ssl.TLSVersion[version]
with connect(made, (host, int(port)), name=host) as client:
    client.sendall(b"GET /api/v1/keys/sae-2/status HTTP/1.1\\r\\nHost: kms\\r\\n\\r\\n")
    print(client.recv(64).split(b"\\r\\n")[0].decode())
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealLab]:
    node = NodePlan(name="kms-1", saes=["sae-1", "sae-2"])
    made = RealLab(tmp_path_factory.mktemp("brainpool") / "lab", Topology(nodes=[node], links=[]))
    made.configure("etsi014", brainpool=True)
    made.up()
    yield made
    made.down()


def certificate(bench: RealLab, curve: ec.EllipticCurve) -> list[str]:
    """Let the CA of the lab sign a certificate of sae-1 whose key is on this curve."""
    above = x509.load_pem_x509_certificate((bench.folder / bench.made.ca).read_bytes())
    signing = load_pem_private_key(
        (bench.folder / bench.made.ca).with_suffix(".key").read_bytes(), None
    )
    assert isinstance(signing, ec.EllipticCurvePrivateKey)
    key, now = ec.generate_private_key(curve), datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sae-1")]))
        .issuer_name(above.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(signing, hashes.SHA256())
    )
    files = [bench.folder / f"{curve.name}.{kind}" for kind in ("crt", "key")]
    files[0].write_bytes(made.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return [str(file) for file in files]


def python(*args: str, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    command, plain = [sys.executable, *args], {**os.environ}
    plain.pop("OPENSSL_CONF", None)
    return subprocess.run(
        command,
        check=False,
        env=plain | env,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=ROOT,
    )


def status_line(bench: RealLab, curve: ec.EllipticCurve, version: ssl.TLSVersion) -> str:
    """Ask as a device would whose OpenSSL knows the curves."""
    host, _, port = bench.made.node("kms-1").etsi014.removeprefix("https://").partition(":")
    place = [host, port, str(bench.folder / bench.made.ca)]
    files = certificate(bench, curve)
    env = {"OPENSSL_CONF": str(brainpool.FILE)}
    return python("-c", CLIENT, *place, *files, version.name, env=env).stdout.strip()


@pytest.mark.parametrize("curve", [*brainpool.CURVES, ec.SECP256R1()], ids=lambda each: each.name)
def test_a_client_with_such_a_key_gets_in_as_do_the_others(
    bench: RealLab, curve: ec.EllipticCurve
) -> None:
    assert status_line(bench, curve, ssl.TLSVersion.TLSv1_2) == "HTTP/1.1 200 OK"


def test_a_node_starts_itself_anew_once_as_the_same_process(bench: RealLab) -> None:
    process = bench.process("kms-1")

    environment = Path(f"/proc/{process.pid}/environ").read_text().split("\0")
    command = Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")
    (said,) = [
        json.loads(line) for line in bench.log("kms-1").splitlines() if '"brainpool"' in line
    ]

    assert f"OPENSSL_CONF={brainpool.FILE}" in environment
    assert command[1:5] == ["-P", "-m", "protokms", "node"]
    assert all("TLS 1.2" in said[name] for name in NAMES)


def check(bench: RealLab, **env: str) -> tuple[int, dict[str, Any]]:
    file = str(bench.folder / "kms-1/node.toml")
    done = python("-m", "protokms", "node", file, "--check", "--json", env=env)
    return done.returncode, json.loads(done.stdout)


def test_the_check_tells_the_truth_about_both_versions(bench: RealLab) -> None:
    status, found = check(bench)
    file = str(bench.folder / "kms-1/node.toml")
    text = python("-m", "protokms", "node", file, "--check", env={}).stdout

    for name, curve in zip(NAMES, brainpool.CURVES, strict=True):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            got_in = bool(status_line(bench, curve, version))
            assert got_in == (
                version.name.replace("v", " ").replace("_", ".") in found["brainpool"][name]
            )
        assert f"{name} {' and '.join(found['brainpool'][name]) or 'none'}" in text
    assert (status, found["well"]) == (0, True)
    assert text.endswith("kms-1 is well\n")


def test_a_file_of_the_operator_is_left_alone_and_the_check_says_what_it_lacks(
    bench: RealLab,
) -> None:
    status, found = check(bench, OPENSSL_CONF="/dev/null")

    (problem,) = found["problems"]
    assert (status, problem["key"]) == (1, "etsi014.brainpool")
    assert ", ".join(NAMES) in problem["reason"]
    assert "/dev/null" in problem["remedy"]
    assert found["brainpool"] == {name: [] for name in NAMES}
