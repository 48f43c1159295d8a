"""Checks of the certificates of the HTTPS interface: valid now, and belonging together."""

import datetime
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from protokms.keyfiles import BadFile, read_file, read_secret
from protokms.sections import Etsi014
from protokms.tables import Report, attempt

_CRL_LIMIT = 1 << 26  # octets
_END = b"-----END X509 CRL-----"


def check(etsi: Etsi014, report: Report) -> None:
    """Check certificate, key, CA and revocation list."""
    own = _certificates(etsi.certificate, "etsi014.certificate", report)
    cas = _certificates(etsi.client_ca, "etsi014.client_ca", report)
    key = attempt(lambda: _private_key(etsi.key), "etsi014.key", report)
    if own:
        _check_dates(own[0], "etsi014.certificate", report)
    for ca in cas:
        _check_dates(ca, "etsi014.client_ca", report)
    if own and key and _spki(own[0].public_key()) != _spki(key.public_key()):
        report.add(
            "etsi014.key",
            f"{etsi.key} is not the key of {etsi.certificate}",
            "give the key that the certificate was made for",
        )
    signers = cas
    if etsi.server_ca:
        signers = _certificates(etsi.server_ca, "etsi014.server_ca", report)
    if own and signers:
        _check_chain(own, signers, "server_ca" if etsi.server_ca else "client_ca", report)
    if etsi.crl and cas:
        _check_crl(etsi.crl, cas, report)


def _check_chain(
    own: Sequence[x509.Certificate], cas: Sequence[x509.Certificate], name: str, report: Report
) -> None:
    last = own[0]
    for step in own[1:]:
        if not _signed(last, step):
            break
        last = step
    if last not in cas and not any(_signed(last, ca) for ca in cas):
        report.add(
            "etsi014.certificate",
            f"{last.subject.rfc4514_string()[:200]} is not signed by the CA of etsi014.{name}",
            "use a certificate of that CA, or name the CA that signs it in etsi014.server_ca",
        )


def _check_dates(certificate: x509.Certificate, key: str, report: Report) -> None:
    now = _now()
    if now > certificate.not_valid_after_utc:
        report.add(key, f"expired on {certificate.not_valid_after_utc:%F %T} UTC", "renew it")
    elif now < certificate.not_valid_before_utc:
        reason = f"is not valid before {certificate.not_valid_before_utc:%F %T} UTC"
        report.add(key, reason, "set the clock, or wait")


def _check_crl(path: Path, cas: Sequence[x509.Certificate], report: Report) -> None:
    crls = attempt(lambda: _parse_crls(path), "etsi014.crl", report)
    if crls is None:
        return
    for crl in crls:
        if not any(_signs(crl, ca) for ca in cas):
            reason = f"{path} is not signed by the CA of etsi014.client_ca"
            report.add("etsi014.crl", reason, "fetch the revocation list of that CA")
        due = crl.next_update_utc
        if due and _now() > due:
            reason = f"{path} is out of date since {due:%F %T} UTC"
            report.add("etsi014.crl", reason, "fetch it anew")
    for ca in cas:
        if all(crl.issuer != ca.subject for crl in crls):
            reason = f"{path} has no list of {ca.subject.rfc4514_string()[:200]}"
            remedy = "add one, or no SAE with a certificate of that CA is let in"
            report.add("etsi014.crl", reason, remedy)


def _certificates(path: Path, key: str, report: Report) -> list[x509.Certificate]:
    def parse() -> list[x509.Certificate]:
        try:
            found = x509.load_pem_x509_certificates(read_file(path, 1 << 20))
            for each in found:  # what is damaged inside shows only when it is asked for
                _ = each.public_key(), each.subject.rfc4514_string(), each.not_valid_after_utc
        except (ValueError, UnsupportedAlgorithm) as why:
            reason = "holds no PEM certificate that can be used"
            raise BadFile(path, reason, "give a PEM file") from why
        return found

    return attempt(parse, key, report) or []


def _private_key(path: Path) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(read_secret(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as why:
        remedy = "give an unencrypted PEM key file of mode 0600"
        raise BadFile(path, "holds no PEM private key that can be used", remedy) from why


def _parse_crls(path: Path) -> list[x509.CertificateRevocationList]:
    texts = read_file(path, _CRL_LIMIT).split(_END)[:-1]
    remedy = "give a PEM file; `openssl crl -inform DER` makes one"
    try:
        crls = [x509.load_pem_x509_crl(text + _END + b"\n") for text in texts]
    except ValueError as why:
        raise BadFile(path, "holds no revocation list in PEM", remedy) from why
    if not crls:
        raise BadFile(path, "holds no revocation list in PEM", remedy)
    return crls


def _signed(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _signs(crl: x509.CertificateRevocationList, ca: x509.Certificate) -> bool:
    try:
        same = crl.issuer == ca.subject
        return same and crl.is_signature_valid(ca.public_key())  # type: ignore[arg-type]
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _spki(key: object) -> bytes:
    made: bytes = key.public_bytes(  # type: ignore[attr-defined]
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    return made
