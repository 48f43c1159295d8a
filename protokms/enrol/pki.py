"""A CA: makes keys and certificates, renews and revokes them; never overwrites a key of another.

Its keys lie in files, in clear: of a lab beside everything else. Those of a network belong on a
machine of their own, and no node needs them.
"""

import base64
import datetime
import ipaddress
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from etsi.http.identity import sae_urn
from etsi.http.options import SaeIdFrom
from protokms.config.keyfiles import (
    KEY_OCTETS,
    BadFile,
    read_file,
    read_secret,
    write_public,
    write_secret,
)

CA_DAYS, LEAF_DAYS, CRL_DAYS = 3_650, 825, 365
"""How long certificates and revocation lists are valid, in days; none longer than their CA."""

CRL = "ca.crl"
_CRL_OCTETS = 8 << 20

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

    @classmethod
    def load(cls, folder: Path) -> "Authority":
        """Read `ca.crt` and `ca.key` of a folder; `BadFile` if it cannot sign with them now."""
        crt, key = folder / "ca.crt", folder / "ca.key"
        certificate = read_certificate(crt)
        if not key.exists():
            raise BadFile(key, "does not exist", "do this where the key of the CA is kept")
        private = _read_private(key)
        if private.public_key() != certificate.public_key():
            raise BadFile(key, f"is not the key of {crt}", "bring the key of this CA")
        made = cls(certificate, private)
        if certificate.not_valid_after_utc <= _now():
            end = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
            remedy = "make another CA with `protokms ca init`, and all certificates anew"
            raise BadFile(crt, f"the CA has expired on {end}", remedy)
        return made

    def renew(self, crt: Path, key: Path, *, rekey: bool = False) -> x509.Certificate:
        """Put a certificate with the same names in the place of one of this CA.

        The private key stays, unless `rekey`: then both files are replaced. Return the old one.
        """
        old = read_certificate(crt)
        self._check_own(crt, old)
        pair = ec.generate_private_key(ec.SECP256R1()) if rekey else _read_private(key)
        if not rekey and pair.public_key() != old.public_key():
            raise BadFile(key, f"is not the key of {crt}", "renew it with --rekey")
        builder = self._begin(old.subject, pair)
        for kind in (x509.ExtendedKeyUsage, x509.SubjectAlternativeName):
            for one in old.extensions:
                if isinstance(one.value, kind):
                    builder = builder.add_extension(one.value, critical=one.critical)
        made = builder.sign(self.key, SHA256()).public_bytes(Encoding.PEM)
        if rekey:
            replace_file(key, _private_pem(pair), write_secret)
        replace_file(crt, made, write_public)
        return old

    def revoke(self, crl: Path, certificates: Sequence[x509.Certificate] = ()) -> int:
        """Sign the list anew, these certificates of this CA on it as well; how many are on it."""
        known: list[x509.RevokedCertificate] = []
        number = 0
        if crl.exists():
            old = read_list(crl)
            if not old.is_signature_valid(self.certificate.public_key()):  # type: ignore[arg-type]
                raise BadFile(crl, "is not signed by this CA", "bring the list of this CA")
            known = list(old)
            number = old.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        there = {one.serial_number for one in known}
        now = _now()
        for one in certificates:
            if one.serial_number not in there:
                entry = x509.RevokedCertificateBuilder(one.serial_number, now)
                known.append(entry.build())
        end = min(now + datetime.timedelta(days=CRL_DAYS), self.certificate.not_valid_after_utc)
        ski = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski.value)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now)
            .next_update(end)
            .add_extension(x509.CRLNumber(number + 1), critical=False)
            .add_extension(issuer, critical=False)
        )
        for each in known:
            builder = builder.add_revoked_certificate(each)
        made = builder.sign(self.key, SHA256()).public_bytes(Encoding.PEM)
        replace_file(crl, made, write_public)
        return len(known)

    def read_own(self, crt: Path) -> x509.Certificate:
        """Read a certificate of this CA; `BadFile` if it is of another."""
        found = read_certificate(crt)
        self._check_own(crt, found)
        return found

    def _check_own(self, crt: Path, found: x509.Certificate) -> None:
        try:
            found.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature) as why:
            raise BadFile(crt, "is not of this CA", "name the folder of its CA") from why

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
        builder = self._begin(_name(name), pair)
        builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        _write_pair(crt, key, builder.sign(self.key, SHA256()), pair)

    def _begin(
        self, subject: x509.Name, pair: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        """Begin a certificate of somebody who is no CA."""
        ski = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski.value)
        own = x509.SubjectKeyIdentifier.from_public_key(pair.public_key())
        last = self.certificate.not_valid_after_utc
        made = _builder(subject, self.certificate.subject, pair.public_key(), LEAF_DAYS, last)
        return (
            made.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(own, critical=False)
            .add_extension(issuer, critical=False)
        )


def fits_cn(sae: str) -> bool:
    """Tell whether an SAE id may be the CN of a certificate."""
    return len(sae.encode()) <= _CN_OCTETS


def read_certificate(crt: Path) -> x509.Certificate:
    """Read a certificate in PEM, or raise `BadFile`."""
    try:
        return x509.load_pem_x509_certificate(read_file(crt))
    except ValueError as why:
        raise BadFile(crt, "is no certificate in PEM", "name another file") from why


def read_list(crl: Path) -> x509.CertificateRevocationList:
    """Read a revocation list in PEM, or raise `BadFile`."""
    try:
        return x509.load_pem_x509_crl(read_file(crl, _CRL_OCTETS))
    except ValueError as why:
        raise BadFile(crl, "is no revocation list in PEM", "bring the last good one") from why


def is_revoked(crl: Path, certificate: x509.Certificate) -> bool:
    """Tell whether a list, if there is one, names a certificate."""
    if not crl.exists():
        return False
    found = read_list(crl).get_revoked_certificate_by_serial_number(certificate.serial_number)
    return found is not None


def replace_file(path: Path, octets: bytes, write: Callable[[Path, bytes], None]) -> None:
    """Put a new file in the place of one, in one step."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    write(new, octets)
    new.replace(path)


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
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    days: int,
    last: datetime.datetime | None = None,
) -> x509.CertificateBuilder:
    now = _now()
    end = now + datetime.timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(min(end, last) if last else end)
    )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _read_private(key: Path) -> ec.EllipticCurvePrivateKey:
    try:
        found = load_pem_private_key(read_secret(key), None)
    except (ValueError, TypeError):
        found = None
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise BadFile(key, "is no ECDSA key in PEM without a password", "name another file")
    return found


def _private_pem(pair: ec.EllipticCurvePrivateKey) -> bytes:
    return pair.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


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
    write_secret(key, _private_pem(pair))
    write_public(crt, certificate.public_bytes(Encoding.PEM))
