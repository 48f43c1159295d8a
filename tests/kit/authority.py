"""A certificate authority for tests."""

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


class Authority:
    """Issues certificates into a folder; file names are `<name>.crt` and `<name>.key`.

    With an `issuer` it is an issuing CA below that one. `pem` is its certificate.
    """

    def __init__(
        self,
        folder: Path,
        name: str = "ca",
        issuer: "Authority | None" = None,
        *,
        not_before: datetime.datetime = NOW - 30 * DAY,
        not_after: datetime.datetime = NOW + DAY,
    ) -> None:
        self.folder, self.path, self.name = folder, folder / f"{name}.crt", name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        above = issuer or self
        self.certificate = (
            _builder(self._name, above._name, self._key.public_key(), not_before, not_after)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(above._key, hashes.SHA256())
        )
        self.pem = self.certificate.public_bytes(Encoding.PEM)
        self.path.write_bytes(self.pem)

    def issue(
        self,
        name: str,
        *,
        common: str | None = "",
        uris: tuple[str, ...] = (),
        dns: tuple[str, ...] = (),
        not_before: datetime.datetime = NOW - 30 * DAY,
        not_after: datetime.datetime = NOW + DAY,
        curve: ec.EllipticCurve | None = None,
        above: bytes = b"",
    ) -> x509.Certificate:
        """Issue a certificate; its common name is `name` unless said otherwise.

        `above` are certificates, in PEM, that stand behind it in the file.
        """
        key = ec.generate_private_key(curve or ec.SECP256R1())
        subject = x509.Name([]) if common is None else _name(common or name)
        builder = _builder(subject, self._name, key.public_key(), not_before, not_after)
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [x509.DNSName(one) for one in dns]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        made = builder.sign(self._key, hashes.SHA256())
        (self.folder / f"{name}.crt").write_bytes(made.public_bytes(Encoding.PEM) + above)
        (self.folder / f"{name}.key").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        return made

    def revoke(
        self,
        *certificates: x509.Certificate,
        since: datetime.datetime = NOW - DAY,
        due: datetime.datetime = NOW + DAY,
    ) -> Path:
        """Write a revocation list of these certificates, and no others: `<name>.crl`."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name)
            .last_update(since)
            .next_update(due)
        )
        for certificate in certificates:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(certificate.serial_number)
                .revocation_date(NOW - DAY)
                .build()
            )
        path = self.folder / f"{self.name}.crl"
        crl = builder.sign(self._key, hashes.SHA256())
        path.write_bytes(crl.public_bytes(Encoding.PEM))
        return path


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    not_before: datetime.datetime,
    not_after: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )
