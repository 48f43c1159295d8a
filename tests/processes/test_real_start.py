"""A node that cannot start says why: in the log, to systemd and `lab up`, and by its status."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from protokms.lab import lab, topology
from protokms.lab import run as lab_run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ELSEWHERE = "192.0.2.1"  # RFC 5737: of documents, and of no host
PATIENCE_S = 120.0
_DROP = """
import ctypes, os, sys
PR_CAPBSET_DROP, CAP_NET_BIND_SERVICE = 24, 10
ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_NET_BIND_SERVICE, 0, 0, 0)  # root may have it, too
os.execv(sys.argv[1], sys.argv[1:])
"""
_UNPRIVILEGED = (sys.executable, "-c", _DROP)
_LOW = 443
_FIRST = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")

Launch = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    lab.init(tmp_path / "lab", topology.parse("chain:2"))
    return tmp_path / "lab/kms-1"


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield made


@pytest.fixture
def launch(home: Path) -> Iterator[Launch]:
    running: list[subprocess.Popen[bytes]] = []

    def begin(*before: str) -> "subprocess.Popen[bytes]":
        args = [*before, sys.executable, "-m", "protokms", "node", str(home / "node.toml"), "--new"]
        with (home / "log").open("ab") as log:
            made = subprocess.Popen(args, stdout=log, stderr=log, cwd=ROOT)
        running.append(made)
        return made

    yield begin
    for each in running:
        each.kill()
        each.wait()


def edit(home: Path, section: str, key: str, value: str) -> None:
    """Give a key of a section another value, or one at all."""
    head, mark, rest = (home / "node.toml").read_text().partition(f"[{section}]\n")
    assert mark
    body, stop, others = rest.partition("\n[")
    lines = [line for line in body.splitlines() if not line.startswith(f"{key} =")]
    body = "\n".join([f"{key} = {value}", *lines])
    (home / "node.toml").write_text(f"{head}{mark}{body}{stop}{others}")


def log_of(home: Path) -> list[dict[str, str]]:
    lines = (home / "log").read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def why(home: Path, event: str) -> str:
    return next(row["why"] for row in log_of(home) if row["event"] == event)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("etsi014", "etsi014.bind", f"{ELSEWHERE}:18001"),
        ("transport", "transport.bind", f"tcp://{ELSEWHERE}:17001"),
        ("metrics", "metrics.bind", f"{ELSEWHERE}:19001"),
    ],
)
def test_an_address_that_is_not_here_is_told_at_once_waited_for_and_ends_with_1(
    home: Path, launch: Launch, manager: socket.socket, section: str, key: str, value: str
) -> None:
    edit(home, section, "bind", f'"{value}"')
    edit(home, "node", "start_wait_s", "1.0")

    node = launch()
    first = manager.recv(2_000).decode()
    status = node.wait(PATIENCE_S)

    told = why(home, "node_waits")
    assert first.startswith("STATUS=waits for 1 s: ")
    assert "EXTEND_TIMEOUT_USEC=" in first
    assert status == 1
    for said in (told, why(home, "node_failed"), first):
        assert f"{key}: {value}" in said
        assert "is not an address of this host; correct it, or bring its interface up" in said
    assert not (home / "store.db").exists()


def test_who_waits_for_an_address_can_be_told_to_end(
    home: Path, launch: Launch, manager: socket.socket
) -> None:
    edit(home, "etsi014", "bind", f'"{ELSEWHERE}:18001"')
    edit(home, "node", "start_wait_s", "600.0")

    node = launch()
    manager.recv(2_000)
    node.send_signal(signal.SIGTERM)

    assert node.wait(PATIENCE_S) == 0


@pytest.mark.skipif(int(_FIRST.read_text()) <= _LOW, reason="every port is free for all here")
def test_a_low_port_needs_a_capability(home: Path, launch: Launch, manager: socket.socket) -> None:
    edit(home, "etsi014", "bind", f'"127.0.0.1:{_LOW}"')

    status = launch(*_UNPRIVILEGED).wait(PATIENCE_S)

    assert status == 1
    for said in (why(home, "node_failed"), manager.recv(2_000).decode()):
        assert f"etsi014.bind: 127.0.0.1:{_LOW}" in said
        assert "needs CAP_NET_BIND_SERVICE" in said
        assert "occupied" not in said


def test_all_occupied_addresses_are_told_in_one_go(home: Path, launch: Launch) -> None:
    local = ("127.0.0.1", 0)
    with socket.create_server(local) as one, socket.create_server(local) as other:
        ports = [taken.getsockname()[1] for taken in (one, other)]
        edit(home, "etsi014", "bind", f'"127.0.0.1:{ports[0]}"')
        edit(home, "transport", "bind", f'"tcp://127.0.0.1:{ports[1]}"')
        status = launch().wait(PATIENCE_S)

    said = why(home, "node_failed")
    assert status == 1
    assert f"etsi014.bind: 127.0.0.1:{ports[0]} is occupied by another process" in said
    assert f"transport.bind: tcp://127.0.0.1:{ports[1]} is occupied by another process" in said


def weak_pair(home: Path) -> None:
    """Give the node an RSA key of 1024 bits, with a certificate of the CA of the lab."""
    ca = x509.load_pem_x509_certificate((home.parent / "ca/ca.crt").read_bytes())
    signer = load_pem_private_key((home.parent / "ca/ca.key").read_bytes(), None)
    old = x509.load_pem_x509_certificate((home / "tls.crt").read_bytes())
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = rsa.generate_private_key(65_537, 1_024)
    made = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(old.not_valid_after_utc)
        .sign(signer, SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (home / "tls.key").write_bytes(pem)
    (home / "tls.crt").write_bytes(made.public_bytes(Encoding.PEM))


def test_a_key_that_openssl_refuses_ends_with_78_and_says_which_would_do(
    home: Path, launch: Launch, manager: socket.socket
) -> None:
    weak_pair(home)

    status = launch().wait(PATIENCE_S)

    assert status == 78
    for said in ((home / "log").read_text(), manager.recv(2_000).decode()):
        assert f"certificate {home / 'tls.crt'}, key {home / 'tls.key'}: " in said
        assert "make a key that is long enough: EC P-256, or RSA of 2048 bits" in said


def socket_in_the_way(home: Path) -> None:
    (home / "manage.sock").touch()
    (home / "manage.sock").chmod(0o600)


def missing_store(home: Path) -> None:
    made = lab.read(home.parent)
    lab.note_stores(home.parent, {node.name for node in made.nodes})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (weak_pair, "make a key that is long enough: EC P-256, or RSA of 2048 bits"),
        (socket_in_the_way, "manage.socket"),
        (missing_store, "with status 1: there is no file"),
    ],
)
def test_lab_up_says_what_a_node_says(home: Path, spoil: Callable[[Path], None], said: str) -> None:
    spoil(home)
    try:
        state = lab_run.start(home.parent, "kms-1", PATIENCE_S)
    finally:
        lab_run.down(home.parent)

    assert said in "\n".join(state.reasons + state.log)


def test_lab_up_tells_of_an_address_that_is_not_here_before_it_starts_anything(home: Path) -> None:
    edit(home, "etsi014", "bind", f'"{ELSEWHERE}:18001"')

    with pytest.raises(lab.LabError, match=f"kms-1: TCP .*{ELSEWHERE}:18001 is not an address of"):
        lab_run.up(home.parent)

    assert not (home / "pid").exists()
