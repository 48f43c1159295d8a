"""Checks of the certificates of the HTTPS interface: valid now, and belonging together."""

import datetime
import math
from collections.abc import Collection, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from etsi.http import credentials, dates, rehearsal, tls
from etsi.http.identity import alternative_names
from etsi.http.naming import Table
from etsi.http.options import HttpOptions
from protokms.config.keyfiles import BadFile, read_file, read_secret
from protokms.config.link_tables import OurSide
from protokms.config.tables import Expiry, Report, attempt

_CRL_LIMIT = 1 << 26  # octets
_END = b"-----END X509 CRL-----"


def check(etsi: HttpOptions, report: Report, table: str) -> None:
    """Check certificate, key, CA and revocation list of a table, and try to use them."""
    own = _certificates(etsi.certificate, f"{table}.certificate", report)
    cas = _certificates(etsi.client_ca, f"{table}.client_ca", report)
    key = attempt(lambda: _private_key(etsi.key), f"{table}.key", report)
    if own and key and _spki(own[0].public_key()) != _spki(key.public_key()):
        report.add(
            f"{table}.key",
            f"{etsi.key} is not the key of {etsi.certificate}",
            "give the key that the certificate was made for",
        )
    bad = {problem.key for problem in report.problems}
    if own and (signers := _signers(etsi, cas, report, table)):
        name = "server_ca" if etsi.server_ca else "client_ca"
        _check_chain(own, signers, f"{table}.{name}", report)
    if etsi.crl and cas:
        _check_crl(etsi.crl, cas, report, table)
        bad |= {problem.key for problem in report.problems} & {f"{table}.crl"}
    _check_use(etsi, bad, report, table)


def check_client(device: OurSide, key: str, report: Report) -> None:
    """Check certificate and key of an SAE, and the CA of the device that it asks."""
    own = _certificates(device.certificate, f"{key}.certificate", report)
    private = attempt(lambda: _private_key(device.key), f"{key}.key", report)
    _certificates(device.ca, f"{key}.ca", report)
    if own and private and _spki(own[0].public_key()) != _spki(private.public_key()):
        reason = f"{device.key} is not the key of {device.certificate}"
        report.add(f"{key}.key", reason, "give the key that the certificate was made for")
    if own and own[0].not_valid_after_utc < _now():
        report.warn(f"{key}.certificate", "has expired: the device will refuse it", "renew it")


def rehearse(etsi: HttpOptions, report: Report, table: str) -> None:
    """Shake hands in memory, as clients will; say when anything expires. It takes its time."""
    made, _ = credentials.read(etsi, credentials.NOTHING)
    now = _now().timestamp()
    for span in dates.spans(made):
        if span.until != math.inf:
            days = round((span.until - now) / 86_400, 1)
            if span.until < now:
                days = min(days, -0.1)  # what has just expired has no time left
            report.expiries.append(Expiry(f"{table}.{span.file}", span.name, days))
    told = {problem.key for problem in report.problems}
    if made.pair.chain and f"{table}.key" not in told:
        signers = _signers(etsi, made.authorities, report, table)
        for why in rehearsal.of_our_own(made, signers):
            if f"{table}.certificate" not in told:
                remedy = "give one for TLS servers, with a key and a signature that are strong"
                report.add(f"{table}.certificate", why, remedy)
        if not alternative_names(made.pair.chain[0], "san_dns") and not _addresses(made.pair):
            reason = "names no host as a subjectAltName: many clients refuse it"
            remedy = "give one that names the hosts by which SAEs know this node"
            report.warn(f"{table}.certificate", reason, remedy)
    for finding in rehearsal.of_clients(made, etsi.sae_id_from):
        if finding.sure:
            remedy = "take that CA out, or use certificates of another one"
            report.add(f"{table}.client_ca", finding.text, remedy)
        else:
            report.unchecked.append(f"{table}.client_ca: {finding.text}")
    if etsi.sae_id_from == "table" and not etsi.saes:
        reason = 'is empty, and sae_id_from = "table": nobody is let in'
        report.add(f"{table}.sae", reason, "write rows, or take the id from another place")


def _check_use(etsi: HttpOptions, bad: Collection[str], report: Report, table: str) -> None:
    """Do with the files what the front end will do; dates that keep clients out are told."""
    made, troubles = credentials.read(etsi, credentials.NOTHING)
    for trouble in troubles:
        key = f"{table}.{trouble.partition(' ')[0]}"
        if key not in bad and not (key == f"{table}.certificate" and f"{table}.key" in bad):
            reason, _, remedy = trouble.rpartition("; ")
            report.add(key, reason or trouble, remedy if reason else "correct it")
    if not made.pair.chain or not made.authorities:
        return
    try:
        tls.context_of(made)
    except (OSError, ValueError) as why:
        report.add(f"{table}.certificate", f"OpenSSL refuses it: {why}", "give another")
        return
    try:
        Table(etsi, made.authorities)
    except ValueError as why:
        report.add(
            f"{table}.sae", str(why), f"correct the rows of {table}.sae or {table}.authority"
        )
    now = _now().timestamp()
    closed = dates.closed(made, now)
    for span in dates.spans(made):
        key, left = f"{table}.{span.file}", round((span.until - now) / 86_400, 1)
        if reason := span.trouble(now):
            remedy = "set the clock, or wait" if now < span.since else "renew it"
            report.warn(key, reason, remedy, closed=bool(closed))
        elif span.level(now):
            report.warn(key, f"{span.name} expires in {left} days", "renew it")
    told = {span.trouble(now) for span in dates.spans(made)}
    for reason in closed:
        if reason.partition(": ")[2] not in told:
            remedy = "give a CA that is valid and not revoked, and the revocation list of each"
            report.warn(f"{table}.client_ca", reason, remedy, closed=True)


def _signers(
    etsi: HttpOptions, cas: Sequence[x509.Certificate], report: Report, table: str
) -> Sequence[x509.Certificate]:
    """Return the CAs by which clients know us."""
    if etsi.server_ca:
        return _certificates(etsi.server_ca, f"{table}.server_ca", report)
    return cas


def _addresses(pair: credentials.Pair) -> bool:
    try:
        kind = x509.SubjectAlternativeName
        names = pair.chain[0].extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False
    return bool(names.get_values_for_type(x509.IPAddress))


def _check_chain(
    own: Sequence[x509.Certificate], cas: Sequence[x509.Certificate], name: str, report: Report
) -> None:
    table = name.partition(".")[0]
    last = own[0]
    for step in own[1:]:
        if not _signed(last, step):
            break
        last = step
    if last not in cas and not any(_signed(last, ca) for ca in cas):
        report.add(
            f"{table}.certificate",
            f"{last.subject.rfc4514_string()[:200]} is not signed by the CA of {name}",
            f"use a certificate of that CA, or name the CA that signs it in {table}.server_ca",
        )


def _check_crl(path: Path, cas: Sequence[x509.Certificate], report: Report, table: str) -> None:
    crls = attempt(lambda: _parse_crls(path), f"{table}.crl", report)
    if crls is None:
        return
    for ca in cas:
        if all(crl.issuer != ca.subject for crl in crls):
            reason = f"{path} has no list of {ca.subject.rfc4514_string()[:200]}"
            remedy = "add one, or no SAE with a certificate of that CA is let in"
            report.add(f"{table}.crl", reason, remedy)


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


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _spki(key: object) -> bytes:
    made: bytes = key.public_bytes(  # type: ignore[attr-defined]
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    return made
