"""Certificates of a configuration: valid now, and revocation lists that count."""

import base64
import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from etsi.http import tls
from etsi.http.options import HttpOptions
from protokms.config import tls as config_tls
from protokms.config.load import load
from protokms.config.tables import Problem
from protokms.enrol import pki
from protokms.lab import lab, topology
from tests.kit.checked import find_problems

NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    lab.init(tmp_path / "lab", topology.parse("chain:1"))
    return tmp_path / "lab/kms-1"


def with_crl(home: Path, ca: Path, due: datetime.datetime, encoding: Encoding) -> list[Problem]:
    key = load_pem_private_key((ca / "ca.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    crl = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(x509.load_pem_x509_certificate((ca / "ca.crt").read_bytes()).subject)
        .last_update(due - datetime.timedelta(days=30))
        .next_update(due)
        .sign(key, SHA256())
    )
    (home / "ca.crl").write_bytes(crl.public_bytes(encoding))
    file = home / "node.toml"
    file.write_text(file.read_text().replace("[etsi014]", '[etsi014]\ncrl = "ca.crl"'))
    return find_problems(file)


@pytest.mark.parametrize(
    ("days", "why"), [(pki.LEAF_DAYS + 1, "expired on"), (-1, "is not valid before")]
)
def test_a_certificate_counts_only_in_its_time(
    home: Path, monkeypatch: pytest.MonkeyPatch, days: int, why: str
) -> None:
    monkeypatch.setattr(config_tls, "_now", lambda: NOW + datetime.timedelta(days=days))

    found = find_problems(home / "node.toml")

    assert found[0].key == "etsi014.certificate"
    assert why in found[0].reason


def test_a_certificate_whose_key_is_damaged_is_told_and_nothing_else(home: Path) -> None:
    file = home / "tls.crt"
    made = x509.load_pem_x509_certificate(file.read_bytes())
    point = made.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    der = made.public_bytes(Encoding.DER).replace(point, point[:1] + b"\xff" * 64)
    text = b"\n".join(base64.b64encode(der)[at : at + 64] for at in range(0, 2 * len(der), 64))
    file.write_bytes(
        b"-----BEGIN CERTIFICATE-----\n" + text.strip() + b"\n-----END CERTIFICATE-----\n"
    )

    (found,) = find_problems(home / "node.toml")

    assert found.key == "etsi014.certificate"
    assert "holds no PEM certificate that can be used" in found.reason


def etsi_options(file: Path) -> HttpOptions:
    etsi = load(file).etsi014
    assert etsi
    return etsi


def test_a_revocation_list_of_the_ca_is_taken_here_and_by_the_front_end(home: Path) -> None:
    due = NOW + datetime.timedelta(days=1)

    assert with_crl(home, home.parent / "ca", due, Encoding.PEM) == []
    tls.server_context(etsi_options(home / "node.toml"))


def test_a_revocation_list_that_the_front_end_would_not_read_is_told(home: Path) -> None:
    due = NOW + datetime.timedelta(days=1)

    (problem,) = with_crl(home, home.parent / "ca", due, Encoding.DER)

    assert problem.key == "etsi014.crl"
    assert "PEM" in problem.reason


def test_a_client_ca_without_a_revocation_list_is_told(home: Path, tmp_path: Path) -> None:
    pki.Authority.create(tmp_path, "another CA")
    bundle = (home.parent / "ca/ca.crt").read_text() + (tmp_path / "ca.crt").read_text()
    (home / "cas.crt").write_text(bundle)
    file = home / "node.toml"
    file.write_text(file.read_text().replace('"../ca/ca.crt"', '"cas.crt"'))

    found = with_crl(home, home.parent / "ca", NOW + datetime.timedelta(days=1), Encoding.PEM)

    (problem,) = [one for one in found if one.key == "etsi014.crl"]
    assert "has no list of" in problem.reason
    assert "another CA" in problem.reason


def test_a_revocation_list_that_is_out_of_date_is_told(home: Path) -> None:
    due = NOW - datetime.timedelta(days=1)

    (problem,) = with_crl(home, home.parent / "ca", due, Encoding.PEM)

    assert problem.key == "etsi014.crl"
    assert "out of date" in problem.reason


def test_a_revocation_list_of_another_ca_is_refused(home: Path, tmp_path: Path) -> None:
    pki.Authority.create(tmp_path)  # of the same name, with another key
    due = NOW + datetime.timedelta(days=1)

    (problem,) = with_crl(home, tmp_path, due, Encoding.PEM)

    assert problem.key == "etsi014.crl"
    assert "is not signed by" in problem.reason


def test_a_certificate_of_another_ca_may_be_used_when_that_is_named(
    home: Path, tmp_path: Path
) -> None:
    other = pki.Authority.create(tmp_path, "another CA")
    for name in ("tls.crt", "tls.key"):
        (home / name).unlink()
    other.server(home / "tls.crt", home / "tls.key", "kms-1", "an-id", ["127.0.0.1"])
    file = home / "node.toml"

    (unnamed,) = find_problems(file)
    text = file.read_text().replace("[etsi014]", f'[etsi014]\nserver_ca = "{tmp_path}/ca.crt"')
    file.write_text(text)
    named = find_problems(file)

    assert "is not signed by the CA of etsi014.client_ca" in unnamed.reason
    assert named == []


def test_a_key_that_openssl_finds_too_small_is_told(home: Path) -> None:
    small, now = rsa.generate_private_key(65537, 1024), NOW
    ca = load_pem_private_key((home.parent / "ca/ca.key").read_bytes(), None)
    assert isinstance(ca, ec.EllipticCurvePrivateKey)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kms-1")]))
        .issuer_name(
            x509.load_pem_x509_certificate((home.parent / "ca/ca.crt").read_bytes()).subject
        )
        .public_key(small.public_key())
        .serial_number(7)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=300))
        .sign(ca, SHA256())
    )
    (home / "tls.crt").write_bytes(made.public_bytes(Encoding.PEM))
    (home / "tls.key").write_bytes(
        small.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )

    (problem,) = find_problems(home / "node.toml")

    assert problem.key == "etsi014.certificate"
    assert "KEY_TOO_SMALL" in problem.reason
    assert "RSA of 2048 bits" in problem.remedy
