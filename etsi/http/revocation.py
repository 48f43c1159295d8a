"""Revocation lists of client CAs: read one by one, so that a bad one spoils no other."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

_END = b"-----END X509 CRL-----"
_BAD = (ValueError, TypeError, UnsupportedAlgorithm)


@dataclass(frozen=True, slots=True)
class RevocationList:
    """What one CA has revoked; `issuer` is its name in DER, `key` tells its keys apart.

    `since` and `due` are seconds since 1970; without a next update a list is never out of date.
    """

    pem: bytes
    issuer: bytes
    key: bytes
    name: str
    since: float
    due: float
    serials: frozenset[int]


Lists = tuple[RevocationList, ...]


def read(
    octets: bytes, authorities: Sequence[x509.Certificate], before: Lists = ()
) -> tuple[Lists, list[str]]:
    """Read all lists that can be read, and say in sentences what is wrong with the others.

    A list that was in use stays in use until a good one of the same CA takes its place: what was
    revoked stays revoked. A list whose CA is not among `authorities` is for clients that send the
    certificate of that CA; OpenSSL checks its signature then.
    """
    troubles: list[str] = []
    found: dict[tuple[bytes, bytes], RevocationList] = {}
    for place, crl in _parsed(octets, troubles):
        signers = [ca for ca in authorities if ca.subject == crl.issuer]
        if signers and not any(_signs(crl, ca) for ca in signers):
            name = crl.issuer.rfc4514_string()[:200]
            troubles.append(f"list {place} is not signed by the {name} of client_ca")
            continue
        made = _made(crl)
        other = found.get((made.issuer, made.key))
        if other is None or other.since <= made.since:
            found[made.issuer, made.key] = made
    if not found and not troubles:
        troubles.append("it holds no revocation list in PEM")
    fresh = {one.issuer for one in found.values()}
    known = {ca.subject.public_bytes() for ca in authorities}
    for old in before:
        if (old.issuer, old.key) in found or (old.issuer in fresh and not old.key):
            continue
        found[old.issuer, old.key] = old
        if old.issuer in known - fresh:
            troubles.append(f"it has no good list of {old.name} now; the last one stays in use")
    return tuple(found.values()), troubles


def revoked(lists: Iterable[RevocationList]) -> frozenset[tuple[bytes, int]]:
    """Return issuer and serial of everything that is revoked."""
    return frozenset((one.issuer, serial) for one in lists for serial in one.serials)


def names(lists: Iterable[RevocationList], certificate: x509.Certificate) -> bool:
    """Tell whether a list of its issuer revokes this certificate."""
    issuer, serial = certificate.issuer.public_bytes(), certificate.serial_number
    return any(one.issuer == issuer and serial in one.serials for one in lists)


def due(lists: Iterable[RevocationList]) -> dict[bytes, float]:
    """Return until when there is a list of each CA, by its name in DER."""
    latest: dict[bytes, float] = {}
    for one in lists:
        latest[one.issuer] = max(latest.get(one.issuer, 0.0), one.due)
    return latest


def _parsed(
    octets: bytes, troubles: list[str]
) -> Iterator[tuple[int, x509.CertificateRevocationList]]:
    for place, text in enumerate(octets.split(_END)[:-1], 1):
        try:
            crl = x509.load_pem_x509_crl(text + _END + b"\n")
            _ = crl.issuer, crl.next_update_utc, crl.last_update_utc, crl.extensions
        except _BAD:
            troubles.append(f"list {place} cannot be read")
            continue
        yield place, crl


def _made(crl: x509.CertificateRevocationList) -> RevocationList:
    due = crl.next_update_utc
    return RevocationList(
        crl.public_bytes(Encoding.PEM),
        crl.issuer.public_bytes(),
        _key(crl),
        crl.issuer.rfc4514_string()[:200],
        crl.last_update_utc.timestamp(),
        due.timestamp() if due else float("inf"),
        frozenset(row.serial_number for row in crl),
    )


def _key(crl: x509.CertificateRevocationList) -> bytes:
    try:
        found = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except x509.ExtensionNotFound:
        return b""
    return found.key_identifier or b""


def _signs(crl: x509.CertificateRevocationList, ca: x509.Certificate) -> bool:
    try:
        return crl.is_signature_valid(ca.public_key())  # type: ignore[arg-type]  # key types of CAs
    except _BAD:
        return False
