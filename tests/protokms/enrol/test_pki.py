"""Keys and certificates of a lab: right, secret, and never overwritten."""

import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from protokms.config import keyfiles
from protokms.enrol import pki

KME = "3f8b1c8e-6f52-4a04-9a6f-1f3f6f0d8a11"


@pytest.fixture
def authority(tmp_path: Path) -> pki.Authority:
    return pki.Authority.create(tmp_path)


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_the_certificate_of_a_kms_names_it_and_where_it_is(
    authority: pki.Authority, tmp_path: Path
) -> None:
    crt = tmp_path / "tls.crt"
    authority.server(crt, tmp_path / "tls.key", "kms-1", KME, ["127.0.0.1", "kms-1.example"])

    made = certificate(crt)
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert made.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "kms-1"
    assert names.get_values_for_type(x509.DNSName) == ["kms-1", "kms-1.example"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"urn:uuid:{KME}"]
    made.verify_directly_issued_by(authority.certificate)


def test_the_ca_of_a_lab_makes_no_other_ca(authority: pki.Authority) -> None:
    made = authority.certificate.extensions.get_extension_for_class(x509.BasicConstraints)

    assert made.critical
    assert made.value == x509.BasicConstraints(ca=True, path_length=0)


def test_the_certificate_of_an_sae_is_for_clients_and_names_it(
    authority: pki.Authority, tmp_path: Path
) -> None:
    crt = tmp_path / "sae.crt"
    authority.client(crt, tmp_path / "sae.key", "sae-1")

    made = certificate(crt)
    uses = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert made.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "sae-1"
    assert list(uses) == [ExtendedKeyUsageOID.CLIENT_AUTH]


@pytest.mark.parametrize("host", ["127.0.0.1", "kms_1.example"])
def test_openssl_takes_them_at_its_strictest(
    authority: pki.Authority, tmp_path: Path, host: str
) -> None:
    crt, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    authority.server(crt, key, "kms-1", KME, [host])
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    server.load_cert_chain(crt, key)
    there, here = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(here, there, server_hostname=host),
        server.wrap_bio(there, here, server_side=True),
    ]

    done: set[int] = set()
    for _ in range(4):
        for number, end in enumerate(ends):
            try:
                end.do_handshake()
                done.add(number)
            except ssl.SSLWantReadError:
                continue

    assert done == {0, 1}


def test_secrets_are_for_their_owner_alone_and_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "node.key"
    pki.draw_key(file)
    before = file.read_bytes()

    with pytest.raises(FileExistsError):
        pki.draw_key(file)

    assert file.read_bytes() == before
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(keyfiles.read_key(file)) == keyfiles.KEY_OCTETS


def test_the_keys_of_a_ca_are_not_overwritten(authority: pki.Authority, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        pki.Authority.create(tmp_path)

    assert stat.S_IMODE((tmp_path / "ca.key").stat().st_mode) == 0o600
    assert authority.certificate == certificate(tmp_path / "ca.crt")


@pytest.mark.parametrize("text", [b"", b"AAAA", b"=" * 44, b"\xff" * 44, b"A" * 70_000])
def test_what_is_no_key_is_refused_without_quoting_it(tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "node.key"
    keyfiles.write_secret(file, text)

    with pytest.raises(keyfiles.BadFile) as caught:
        keyfiles.read_key(file)

    assert caught.value.remedy
    assert "AAAA" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_secret_that_others_can_open_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "node.key"
    pki.draw_key(file)
    file.chmod(mode)

    with pytest.raises(keyfiles.BadFile, match="others can open it"):
        keyfiles.read_key(file)
