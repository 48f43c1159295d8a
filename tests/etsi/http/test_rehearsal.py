"""Handshakes in memory find why nobody would get in, and nothing where all is well."""

import datetime
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from etsi.http import dates, rehearsal, revocation
from etsi.http.credentials import Credentials, Pair
from transport.message import Secret

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True)
class Issuer:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def pair(self) -> Pair:
        pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Pair(self.certificate.public_bytes(Encoding.PEM), Secret(pem), (self.certificate,))


def usage(*wanted: str) -> x509.KeyUsage:
    names = "digital_signature content_commitment key_encipherment data_encipherment"
    names += " key_agreement key_cert_sign crl_sign encipher_only decipher_only"
    return x509.KeyUsage(**{name: name in wanted for name in names.split()})


CA = (x509.BasicConstraints(ca=True, path_length=None), usage("key_cert_sign", "crl_sign"))


def make(
    name: str,
    issuer: Issuer | None = None,
    *extensions: x509.ExtensionType,
    key: Any = None,
    until: datetime.datetime = NOW + DAY,
) -> Issuer:
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - 30 * DAY)
        .not_valid_after(until)
    )
    for one in extensions:
        builder = builder.add_extension(one, critical=isinstance(one, x509.BasicConstraints))
    edwards = isinstance(signer, ed25519.Ed25519PrivateKey)
    return Issuer(builder.sign(signer, None if edwards else hashes.SHA256()), key)


ROOT = make("root", None, *CA)
KMS = make("kms", ROOT, x509.ExtendedKeyUsage([SERVER]))


def credentials(*cas: Issuer, pair: Issuer = KMS) -> Credentials:
    return Credentials(pair.pair, tuple(one.certificate for one in cas), None)


def texts(made: Credentials) -> list[str]:
    found = list(rehearsal.of_clients(made, "cn"))
    assert all(finding.sure for finding in found)
    return [finding.text for finding in found]


@pytest.mark.parametrize(
    "key",
    [
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: rsa.generate_private_key(65_537, 2_048),
        ed25519.Ed25519PrivateKey.generate,
    ],
    ids=["P-384", "RSA", "Ed25519"],
)
def test_a_good_bundle_has_nothing_against_it(key: Callable[[], Any]) -> None:
    root = make("root", None, *CA, key=key())
    issuing = make("issuing", root, *CA, key=key())
    kms = make("kms", issuing, x509.ExtendedKeyUsage([SERVER]), usage("digital_signature"))

    assert rehearsal.of_our_own(credentials(pair=kms), [issuing.certificate]) == []
    assert texts(credentials(root, issuing)) == []
    assert texts(credentials(issuing)) == []  # without its root
    assert texts(credentials(issuing, root)) == []


@pytest.mark.parametrize(
    ("kms", "why"),
    [
        (lambda: make("kms", ROOT, x509.ExtendedKeyUsage([CLIENT])), "purpose"),
        (lambda: make("kms", ROOT, usage("key_cert_sign")), "purpose|usage"),
        (lambda: make("kms", make("stranger", None, *CA)), "unable to get local issuer"),
        (lambda: make("kms", make("root", None, *CA)), "signature|unable to get"),
    ],
    ids=["for clients", "signs certificates", "of another CA", "of another key"],
)
def test_what_clients_would_refuse_of_ours_is_told(kms: Callable[[], Issuer], why: str) -> None:
    found = rehearsal.of_our_own(credentials(pair=kms()), [ROOT.certificate])

    assert found
    for text in found:
        assert text.startswith("CN=kms is refused by clients: ")
    assert any(word in text for text in found for word in why.split("|"))


@pytest.mark.parametrize(
    ("cas", "why"),
    [
        (lambda: [make("ca", None, CA[0], usage("digital_signature"))], "CA"),
        (lambda: [make("ca", None, *CA, x509.ExtendedKeyUsage([SERVER]))], "purpose"),
        (lambda: [make("ca", None, *CA, key=rsa.generate_private_key(65_537, 1_024))], "too weak"),
        (lambda: chain(x509.BasicConstraints(ca=True, path_length=0)), "path length"),
    ],
    ids=["may sign nothing", "for servers", "RSA-1024", "path length"],
)
def test_a_ca_whose_clients_would_be_refused_is_told(
    cas: Callable[[], list[Issuer]], why: str
) -> None:
    found = texts(credentials(*cas()))

    assert found
    assert all(text.startswith("no client of CN=") for text in found)
    assert why.lower() in found[-1].lower()


def chain(constraints: x509.BasicConstraints) -> list[Issuer]:
    root = make("root", None, constraints, CA[1])
    return [root, make("issuing", root, *CA)]


def test_only_the_ca_that_is_bad_is_named() -> None:
    bad = make("bad", None, *CA, x509.ExtendedKeyUsage([SERVER]))

    (found,) = texts(credentials(ROOT, bad))

    assert found.startswith("no client of CN=bad is let in: ")


def test_names_that_a_ca_may_give_are_used() -> None:
    names = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "vendor")])
    subtrees = [x509.DirectoryName(names), x509.DNSName("vendor.example")]
    bound = x509.NameConstraints(permitted_subtrees=subtrees, excluded_subtrees=None)
    ca = make("ca", None, *CA, bound)

    assert texts(credentials(ca)) == []
    assert list(rehearsal.of_clients(credentials(ca), "san_dns")) == []


def test_dates_are_no_matter_here() -> None:
    late = make("late", None, *CA, until=NOW - DAY)
    kms = make("kms", ROOT, until=NOW - DAY)

    assert texts(credentials(late)) == []
    assert rehearsal.of_our_own(credentials(pair=kms), [ROOT.certificate]) == []


def lists(*of: tuple[Issuer, list[Issuer]]) -> revocation.Lists:
    made = b""
    for ca, revoked in of:
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(ca.certificate.subject)
            .last_update(NOW - DAY)
            .next_update(NOW + DAY)
        )
        for one in revoked:
            row = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number)
            builder = builder.add_revoked_certificate(row.revocation_date(NOW - DAY).build())
        made += builder.sign(ca.key, hashes.SHA256()).public_bytes(Encoding.PEM)
    read, troubles = revocation.read(made, [ca.certificate for ca, _ in of])
    assert not troubles
    return read


def test_lists_count_and_a_ca_that_is_revoked_lets_nobody_in() -> None:
    issuing = make("issuing", ROOT, *CA)
    bundle = credentials(ROOT, issuing)

    good = replace(bundle, lists=lists((ROOT, []), (issuing, [])))
    missing = replace(bundle, lists=lists((ROOT, [])))
    revoked = replace(bundle, lists=lists((ROOT, [issuing]), (issuing, [])))

    assert texts(good) == []
    assert texts(missing) == ["no client of CN=issuing is let in: unable to get certificate CRL"]
    assert texts(revoked) == ["no client of CN=issuing is let in: certificate revoked"]


def test_a_revoked_ca_without_its_root_lets_nobody_in() -> None:
    issuing, other = make("issuing", ROOT, *CA), make("other", ROOT, *CA)
    known = lists((ROOT, [issuing]), (issuing, []), (other, []))
    alone = replace(credentials(issuing), lists=known)
    beside = replace(credentials(issuing, other), lists=known)

    assert texts(alone) == ["no client of CN=issuing is let in: certificate revoked"]
    assert texts(beside) == texts(alone)
    now = NOW.timestamp()
    assert dates.closed(alone, now) == ["no client is let in: CN=issuing is revoked"]
    assert dates.closed(beside, now) == []


def test_a_ca_that_cannot_have_a_double_is_told_as_such_and_spoils_no_other() -> None:
    odd = make("odd", None, *CA, key=dsa.generate_private_key(2_048))
    below = make("below", odd, *CA)
    bad = make("bad", None, *CA, x509.ExtendedKeyUsage([SERVER]))

    found = list(rehearsal.of_clients(credentials(odd, below, bad, ROOT), "cn"))

    assert [finding.sure for finding in found] == [False, False, True]
    assert found[0].text.startswith("no client of CN=odd can be rehearsed: the key of CN=odd is of")
    assert found[1].text.startswith("no client of CN=below can be rehearsed: the key of CN=odd is")
    assert found[2].text.startswith("no client of CN=bad is let in: ")
