"""Makes the keys and certificates of a lab; never overwrites one.

The CA made here is for labs: its keys lie in a file beside everything else.
"""

import base64
import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from etsi.http.identity import sae_urn
from etsi.http.options import SaeIdFrom
from protokms.config.keyfiles import KEY_OCTETS, write_public, write_secret

CA_DAYS, LEAF_DAYS = 3_650, 825
"""How long certificates are valid, in days."""

_CN_OCTETS = 64  # X.520: characters; what is no ASCII is counted in octets by some
_EARLIER = datetime.timedelta(minutes=5)  # clocks of hosts differ


@dataclass(frozen=True, slots=True)
class Authority:
    """The CA of a lab: signs certificates (ECDSA P-256) and the directory (Ed25519)."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, folder: Path, name: str = "protokms lab CA") -> "Authority":
        """Draw a CA and write `ca.crt` and `ca.key` into a folder."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name)
        ski = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        made = (
            _builder(subject, subject, key.public_key(), CA_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(ca=True), critical=True)
            .add_extension(ski, critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski),
                critical=False,
            )
            .sign(key, SHA256())
        )
        _write_pair(folder / "ca.crt", folder / "ca.key", made, key)
        return cls(made, key)

    def server(self, crt: Path, key: Path, name: str, kme_id: str, hosts: Sequence[str]) -> None:
        """Make the certificate of a KMS: CN is its name, a SAN URI `urn:uuid:` its KME ID."""
        names: list[x509.GeneralName] = [x509.DNSName(name)]
        names += [_host(host) for host in dict.fromkeys(hosts) if host != name]
        names.append(x509.UniformResourceIdentifier(f"urn:uuid:{kme_id}"))
        self._leaf(crt, key, name, ExtendedKeyUsageOID.SERVER_AUTH, names)

    def client(self, crt: Path, key: Path, sae: str, source: SaeIdFrom = "cn") -> None:
        """Make the certificate of an SAE: CN is its id, or a SAN URI holds it.

        In the latter case the CN is the name of its file: it is for people.
        """
        if source == "cn":
            self._leaf(crt, key, sae, ExtendedKeyUsageOID.CLIENT_AUTH, [])
            return
        uri = x509.UniformResourceIdentifier(sae_urn(sae))
        self._leaf(crt, key, crt.stem, ExtendedKeyUsageOID.CLIENT_AUTH, [uri])

    def _leaf(
        self,
        crt: Path,
        key: Path,
        name: str,
        use: x509.ObjectIdentifier,
        names: Sequence[x509.GeneralName],
    ) -> None:
        pair = ec.generate_private_key(ec.SECP256R1())
        ski = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        builder = (
            _builder(_name(name), self.certificate.subject, pair.public_key(), LEAF_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(pair.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski.value),
                critical=False,
            )
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        _write_pair(crt, key, builder.sign(self.key, SHA256()), pair)


def fits_cn(sae: str) -> bool:
    """Tell whether an SAE id may be the CN of a certificate."""
    return len(sae.encode()) <= _CN_OCTETS


def draw_key(path: Path) -> None:
    """Write 32 fresh random octets as base64: a node key, a seal or a link secret."""
    write_secret(path, base64.b64encode(os.urandom(KEY_OCTETS)) + b"\n")


def draw_signing_key(private: Path, public: Path | None = None) -> str:
    """Write an Ed25519 key (raw, base64) and return its public half, in base64."""
    key = Ed25519PrivateKey.generate()
    write_secret(private, base64.b64encode(key.private_bytes_raw()) + b"\n")
    text = base64.b64encode(key.public_key().public_bytes_raw())
    if public:
        write_public(public, text + b"\n")
    return text.decode()


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _write_pair(
    crt: Path, key: Path, certificate: x509.Certificate, pair: ec.EllipticCurvePrivateKey
) -> None:
    write_secret(key, pair.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    write_public(crt, certificate.public_bytes(Encoding.PEM))
