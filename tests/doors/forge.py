"""Certificates that nobody should have, some of them signed by the CA of the lab itself."""

import datetime
from collections.abc import Iterable, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)

Names = Sequence[str] | x509.Name


class Forge:
    """Signs whatever it is asked to; `ca` is the folder of a lab's CA, None for one of its own."""

    def __init__(self, folder: Path, ca: Path | None) -> None:
        self.folder = folder
        if ca:
            key = load_pem_private_key((ca / "ca.key").read_bytes(), None)
            assert isinstance(key, ec.EllipticCurvePrivateKey)
            self.key = key
            self.issuer = x509.load_pem_x509_certificate((ca / "ca.crt").read_bytes()).subject
        else:
            self.key = ec.generate_private_key(ec.SECP256R1())
            self.issuer = _name(["another CA"])

    def issue(
        self,
        names: Names,
        *,
        since: datetime.datetime = NOW - DAY,
        until: datetime.datetime = NOW + DAY,
        use: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
        itself: bool = False,
    ) -> tuple[Path, Path]:
        """Write a certificate and its key; `itself` lets it sign itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = names if isinstance(names, x509.Name) else _name(names)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if itself else self.issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(until)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        )
        made = builder.sign(key if itself else self.key, SHA256())
        stem = self.folder / f"{made.serial_number:x}"
        crt, private = stem.with_suffix(".crt"), stem.with_suffix(".key")
        crt.write_bytes(made.public_bytes(Encoding.PEM))
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return crt, private

    def revoke(self, serials: Iterable[int], file: Path) -> None:
        """Write the list of revoked certificates."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.issuer)
            .last_update(NOW - DAY)
            .next_update(NOW + DAY)
        )
        for serial in serials:
            row = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW - DAY)
            builder = builder.add_revoked_certificate(row.build())
        file.write_bytes(builder.sign(self.key, SHA256()).public_bytes(Encoding.PEM))


def serial(crt: Path) -> int:
    """Tell the serial number of a certificate."""
    return x509.load_pem_x509_certificate(crt.read_bytes()).serial_number


def _name(names: Iterable[str]) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, name, _validate=False) for name in names]
    )
