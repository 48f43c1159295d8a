"""What `protokms node --check` finds before it matters, all in one go."""

import datetime
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

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
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from actors.storage.file import StoreFile
from protokms.commands import node
from protokms.config import addresses
from protokms.config.keyfiles import read_key
from protokms.config.load import load
from protokms.lab import lab, topology
from protokms.manage import words
from tests.kit.authority import DAY, NOW, Authority
from transport.binding import CannotBind, cannot_bind
from transport.endpoint import Endpoint
from transport.message import Secret

ELSEWHERE = "192.0.2.1"  # RFC 5737: of documents, and of no host
Check = Callable[[], dict[str, Any]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    lab.init(tmp_path / "lab", topology.parse("chain:2"))
    made = tmp_path / "lab/kms-1"
    store(made).close()
    return made


@pytest.fixture
def check(home: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    def run() -> dict[str, Any]:
        status = node.run([str(home / "node.toml"), "--check", "--json"])
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert status == (0 if found["well"] else 1)
        return found

    return run


def store(home: Path) -> StoreFile:
    path, key = home / "store.db", Secret(read_key(home / "node.key"))
    kind = StoreFile.open if path.exists() else StoreFile.create
    return kind(path, "kms-1", key)


def edit(home: Path, section: str, key: str, value: str) -> None:
    """Give a key of a section another value, or one at all."""
    head, mark, rest = (home / "node.toml").read_text().partition(f"[{section}]\n")
    assert mark
    body, stop, others = rest.partition("\n[")
    lines = [line for line in body.splitlines() if line.partition(" =")[0] != key]
    body = "\n".join([f"{key} = {value}", *lines])
    (home / "node.toml").write_text(f"{head}{mark}{body}{stop}{others}")


def keys(found: dict[str, Any], kind: str = "problems") -> list[str]:
    return [row["key"] for row in found[kind]]


def told(found: dict[str, Any], key: str, kind: str = "problems") -> str:
    (row,) = [row for row in found[kind] if row["key"] == key]
    return f"{row['reason']}. {row['remedy']}"


def new_pair(home: Path, key: Any, *uses: x509.ObjectIdentifier) -> None:
    """Give the node another certificate of the CA of the lab."""
    ca = x509.load_pem_x509_certificate((home.parent / "ca/ca.crt").read_bytes())
    signer = load_pem_private_key((home.parent / "ca/ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kms-1")]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + datetime.timedelta(days=100, hours=1))
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .sign(signer, SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (home / "tls.key").write_bytes(pem)
    (home / "tls.crt").write_bytes(made.public_bytes(Encoding.PEM))


def strong() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def test_a_key_that_openssl_refuses_is_told(home: Path, check: Check) -> None:
    weak = rsa.generate_private_key(65_537, 1_024)
    new_pair(home, weak, ExtendedKeyUsageOID.SERVER_AUTH)

    said = told(check(), "etsi014.certificate")

    assert "KEY_TOO_SMALL" in said
    assert "make a key that is long enough: EC P-256, or RSA of 2048 bits" in said


def test_a_certificate_for_clients_is_none_for_a_server(home: Path, check: Check) -> None:
    new_pair(home, strong(), ExtendedKeyUsageOID.CLIENT_AUTH)

    found = check()

    assert keys(found) == ["etsi014.certificate"]
    said = told(found, "etsi014.certificate")
    assert said.startswith("CN=kms-1 is refused by clients: ")
    assert "certificate purpose" in said
    assert "names no host" in told(found, "etsi014.certificate", "warnings")


@pytest.mark.parametrize("bundle", ["issuing", "root", "both"])
def test_an_issuing_ca_alone_lets_its_clients_in(
    home: Path, tmp_path: Path, check: Check, bundle: str
) -> None:
    root = Authority(tmp_path, "root", not_after=NOW + 900 * DAY)
    issuing = Authority(tmp_path, "issuing", root, not_after=NOW + 900 * DAY)
    pems = {"issuing": issuing.pem, "root": root.pem, "both": root.pem + issuing.pem}
    (home / "clients.crt").write_bytes(pems[bundle])
    edit(home, "etsi014", "client_ca", '"clients.crt"')
    edit(home, "etsi014", "server_ca", '"../ca/ca.crt"')

    assert check()["problems"] == []


def test_a_revoked_issuing_ca_is_not_well(home: Path, tmp_path: Path, check: Check) -> None:
    root = Authority(tmp_path, "root", not_after=NOW + 900 * DAY)
    issuing = Authority(tmp_path, "issuing", root, not_after=NOW + 900 * DAY)
    (home / "clients.crt").write_bytes(issuing.pem)
    crls = [root.revoke(issuing.certificate, due=NOW + 99 * DAY), issuing.revoke()]
    (home / "ca.crl").write_bytes(b"".join(crl.read_bytes() for crl in crls))
    edit(home, "etsi014", "client_ca", '"clients.crt"')
    edit(home, "etsi014", "server_ca", '"../ca/ca.crt"')
    edit(home, "etsi014", "crl", '"ca.crl"')

    reasons = [row["reason"] for row in check()["problems"]]

    assert "no client is let in: CN=issuing is revoked" in reasons


def test_a_ca_of_weak_keys_is_named_and_one_that_has_expired_warns(
    home: Path, tmp_path: Path, check: Check
) -> None:
    weak = rsa.generate_private_key(65_537, 1_024)
    late = Authority(tmp_path, "late", not_after=NOW - DAY)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "weak")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(weak.public_key())
        .serial_number(7)
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(weak, SHA256())
    )
    good = (home.parent / "ca/ca.crt").read_bytes()
    pem = made.public_bytes(Encoding.PEM)
    (home / "clients.crt").write_bytes(good + late.pem + pem)
    edit(home, "etsi014", "client_ca", '"clients.crt"')

    found = check()

    assert told(found, "etsi014.client_ca").startswith("no client of CN=weak is let in: ")
    assert any("CN=late has expired on" in row["reason"] for row in found["warnings"])


def test_what_has_expired_is_told_so(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    late = Authority(tmp_path, "late", not_after=NOW - 2 * DAY)
    (home / "clients.crt").write_bytes((home.parent / "ca/ca.crt").read_bytes() + late.pem)
    edit(home, "etsi014", "client_ca", '"clients.crt"')

    status = node.run([str(home / "node.toml"), "--check"])

    assert status == 0
    assert "etsi014.client_ca: CN=late expired 2.0 days ago" in capsys.readouterr().out


def test_what_has_just_expired_is_told_so(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = datetime.datetime.now(datetime.UTC)
    late = Authority(tmp_path, "late", not_after=made - datetime.timedelta(seconds=9))
    (home / "clients.crt").write_bytes((home.parent / "ca/ca.crt").read_bytes() + late.pem)
    edit(home, "etsi014", "client_ca", '"clients.crt"')

    node.run([str(home / "node.toml"), "--check"])

    assert "etsi014.client_ca: CN=late expired 0.1 days ago" in capsys.readouterr().out


def test_a_lock_that_cannot_be_opened_is_told(home: Path, check: Check) -> None:
    (home / "store.db.lock").unlink(missing_ok=True)
    (home / "store.db.lock").mkdir()  # refused to root, too

    assert "store.db.lock cannot be opened: " in told(check(), "node.data")


def test_when_anything_expires_is_told_in_days(home: Path, check: Check) -> None:
    new_pair(home, strong(), ExtendedKeyUsageOID.SERVER_AUTH)

    expiries = {row["key"]: row for row in check()["expiries"]}

    assert expiries["etsi014.certificate"]["name"] == "CN=kms-1"
    assert expiries["etsi014.certificate"]["days"] == 100.0
    assert expiries["etsi014.client_ca"]["days"] > 3_600


def test_a_table_without_rows_lets_nobody_in(home: Path, check: Check) -> None:
    edit(home, "etsi014", "sae_id_from", '"table"')

    assert "nobody is let in" in told(check(), "etsi014.sae")


def test_a_credential_is_not_there_outside_of_systemd_and_the_rest_is_checked(
    home: Path, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    edit(home, "node", "node_key", '{ credential = "node.key" }')

    well = check()
    (home / "store.db").chmod(0o644)
    (home / "signing.key").unlink()
    bad = check()

    assert well["problems"] == []
    assert len(well["unchecked"]) == 1
    assert "the credential node.key is there under systemd alone" in well["unchecked"][0]
    assert well["limits"]
    assert keys(bad) == ["node.data", "node.signing_key"]


def test_a_credential_that_is_there_is_checked(
    home: Path, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(home))
    edit(home, "node", "node_key", '{ credential = "curve.key" }')

    found = check()

    assert keys(found) == ["node.node_key.credential"]
    assert found["unchecked"] == []


def test_an_address_that_is_not_of_this_host_is_told(home: Path, check: Check) -> None:
    edit(home, "etsi014", "bind", f'"{ELSEWHERE}:18001"')

    said = told(check(), "etsi014.bind")

    assert said.startswith(f"{ELSEWHERE}:18001 is not an address of this host. correct it, or")


def test_a_port_that_needs_a_privilege_is_told(
    home: Path, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(end: Endpoint, _: socket.SocketKind, **_options: bool) -> CannotBind | None:
        return cannot_bind(str(end), PermissionError(13, "no")) if end.port == 443 else None

    edit(home, "etsi014", "bind", '"127.0.0.1:443"')
    monkeypatch.setattr(addresses, "find_trouble", find)

    assert "port 443 needs CAP_NET_BIND_SERVICE" in told(check(), "etsi014.bind")


@pytest.mark.slow
def test_a_name_of_another_host_that_does_not_resolve_is_told(home: Path, check: Check) -> None:
    file, name = home / "node.toml", "nowhere.invalid"  # RFC 2606: a name that nobody has
    remote = f'remote = "{load(file).links[0].remote}"'
    other = remote.replace("127.0.0.1", name)
    insecure = f"{other}\nallow_insecure_emulation = true"
    file.write_text(file.read_text().replace(remote, insecure))

    found = check()

    assert found["well"]
    warned = [row["reason"] for row in found["warnings"] if row["key"] == "link to kms-2: remote"]
    assert any(name in text for text in [*warned, *found["unchecked"]])


def test_a_link_that_says_no_far_address_is_told_so(home: Path, check: Check) -> None:
    file = home / "node.toml"
    rows = file.read_text().splitlines(keepends=True)
    file.write_text("".join(row for row in rows if not row.startswith("remote = ")))

    assert keys(check()) == ["link[0].remote"]


@pytest.fixture
def occupied(home: Path) -> Iterator[None]:
    bind = load(home / "node.toml").metrics.bind
    with socket.create_server((bind.host, bind.port)):
        yield


@pytest.mark.usefixtures("occupied")
@pytest.mark.parametrize("credential", [False, True])
def test_an_occupied_port_is_told_unless_the_node_itself_runs(
    home: Path, check: Check, monkeypatch: pytest.MonkeyPatch, *, credential: bool
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    if credential:
        edit(home, "node", "node_key", '{ credential = "node.key" }')

    stopped = check()
    with closing(store(home)):
        running = check()

    assert keys(stopped) == ["metrics.bind"]
    assert "is occupied by another process" in told(stopped, "metrics.bind")
    assert keys(running) == []


def test_a_management_socket_of_another_process_is_told_unless_the_node_itself_runs(
    home: Path, check: Check
) -> None:
    with socket.socket(socket.AF_UNIX) as other, words.short_name(home / "manage.sock") as name:
        other.bind(name)
        dead = check()
        other.listen(1)
        stopped = check()
        with closing(store(home)):
            running = check()

    assert keys(dead) == []
    assert keys(stopped) == ["manage.socket"]
    assert "another process listens at" in told(stopped, "manage.socket")
    assert keys(running) == []


def test_everything_is_told_in_one_go(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    new_pair(home, rsa.generate_private_key(65_537, 1_024), ExtendedKeyUsageOID.SERVER_AUTH)
    edit(home, "node", "node_key", '{ credential = "node.key" }')
    edit(home, "etsi014", "bind", f'"{ELSEWHERE}:18001"')
    edit(home, "etsi014", "crl", '"none.crl"')
    edit(home, "etsi014", "sae_id_from", '"table"')
    (home / "signing.key").chmod(0o644)

    status = node.run([str(home / "node.toml"), "--check"])

    said = capsys.readouterr()
    assert status == 1
    for text in (
        "node.signing_key: ",
        "etsi014.certificate: ",
        "etsi014.crl: ",
        "etsi014.sae: ",
        "etsi014.bind: ",
        "not checked: node.node_key.credential: ",
    ):
        assert said.err.count(text) == 1, said.err
    assert "etsi014.client_ca: CN=protokms lab CA expires in 3,6" in said.out
    assert "is well" not in said.out
