"""The files of a front end's TLS: read part by part, so that a bad one spoils no other.

The parts are: our certificate with its key; the client CAs; the revocation lists. At a reload a
part that is bad keeps its last value, and is named. Dates are no matter here: OpenSSL refuses what
is out of date, and `etsi.http.dates` tells of it.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import MFD_CLOEXEC, close, memfd_create, write
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from etsi.http import revocation
from etsi.http.options import CLIENT_CA, PAIR, HttpOptions
from transport.explained import Explained
from transport.message import Secret

T = TypeVar("T")

_BAD = (OSError, ValueError, UnsupportedAlgorithm)


class Unusable(Explained):
    """A certificate, key or CRL cannot be used; the text names the file, the reason, the remedy.

    `part` is the key of the configuration.
    """

    def __init__(self, text: str, part: str = PAIR) -> None:
        super().__init__(text)
        self.part = part


@dataclass(frozen=True, slots=True)
class Pair:
    """Our certificate and its key, in PEM as they were read; `chain` is what the first holds."""

    certificate: bytes
    key: Secret
    chain: tuple[x509.Certificate, ...]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What was read; without `lists` nobody asks for revocation lists."""

    pair: Pair
    authorities: tuple[x509.Certificate, ...]
    lists: revocation.Lists | None


NOTHING = Credentials(Pair(b"", Secret(b""), ()), (), None)
"""What there is before anything was read: with it `read` tells of every part that is bad."""


def read(
    options: HttpOptions, before: Credentials | None = None, keep: Collection[str] = ()
) -> tuple[Credentials, tuple[str, ...]]:
    """Read all parts; return them, and what is wrong in sentences that name the file.

    What cannot be used keeps its value of before, as do the parts in `keep`, which somebody else
    has found bad; `Unusable` if there is none.
    """
    troubles: list[str] = []

    def part(name: str, make: Callable[[], T], last: T | None) -> T:
        if last is not None and name in keep:
            return last
        try:
            return make()
        except Unusable as why:
            if last is None:
                raise
            troubles.append(str(why))
            return last

    pair = part(PAIR, lambda: _pair(options), before.pair if before else None)
    last = before.authorities if before else None
    authorities = part(CLIENT_CA, lambda: _authorities(options.client_ca), last)
    lists: revocation.Lists | None = None
    if options.crl is not None:
        lists, wrong = _lists(options.crl, authorities, before.lists if before else None)
        if wrong and before is None:
            raise Unusable("; ".join(wrong), "crl")
        troubles += wrong
    return Credentials(pair, authorities, lists), tuple(troubles)


def signers(options: HttpOptions, made: Credentials) -> Sequence[x509.Certificate]:
    """Return the CAs by which clients know us; none, if their file cannot be read."""
    if options.server_ca is None:
        return made.authorities
    try:
        return _certificates(options.server_ca.read_bytes())
    except _BAD:
        return ()


def is_root(certificate: x509.Certificate) -> bool:
    """Tell whether a certificate is signed by itself."""
    return issued(certificate, certificate)


def issued(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    """Tell whether this CA has signed this certificate; dates do not matter."""
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


@contextmanager
def as_file(octets: bytes) -> Iterator[str]:
    """Give octets a path: OpenSSL takes keys and revocation lists from files alone.

    The file is in memory; no disk ever has it.
    """
    handle = memfd_create("tls", MFD_CLOEXEC)
    try:
        rest = memoryview(octets)
        while rest:
            rest = rest[write(handle, rest) :]
        yield f"/proc/self/fd/{handle}"
    finally:
        close(handle)


def load_pair(context: SSLContext, pair: Pair) -> None:
    """Give a context our certificate and key; `OSError` or `ValueError` if OpenSSL refuses them."""
    with as_file(pair.certificate) as certificate, as_file(pair.key.reveal()) as key:
        # Without a password OpenSSL would ask for one on the terminal, and wait.
        context.load_cert_chain(certificate, key, password="")


def load_authorities(context: SSLContext, cas: Iterable[x509.Certificate]) -> None:
    """Let a context trust these CAs."""
    context.load_verify_locations(cadata=b"".join(ca.public_bytes(Encoding.DER) for ca in cas))


def load_lists(context: SSLContext, lists: revocation.Lists) -> None:
    """Give a context these revocation lists."""
    if lists:
        with as_file(b"".join(one.pem for one in lists)) as path:
            context.load_verify_locations(cafile=path)


def trusted(certificates: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """Leave out what is neither root nor CA: with partial chains it would vouch for itself."""
    return [one for one in certificates if _is_ca(one) or is_root(one)]


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False
    return found.value.ca


def _pair(options: HttpOptions) -> Pair:
    files = f"certificate {options.certificate}, key {options.key}"
    try:
        certificate, key = options.certificate.read_bytes(), options.key.read_bytes()
        pair = Pair(certificate, Secret(key), ())
        load_pair(SSLContext(PROTOCOL_TLS_SERVER), pair)
        return Pair(certificate, pair.key, _certificates(certificate))
    except _BAD as why:
        remedy = "give a PEM chain and its unencrypted PEM key"
        if "KEY_TOO_SMALL" in str(why):
            remedy = "make a key that is long enough: EC P-256, or RSA of 2048 bits"
        raise Unusable(f"{files}: {_reason(why)}; {remedy}") from why


def _authorities(path: Path) -> tuple[x509.Certificate, ...]:
    try:
        found = _certificates(path.read_bytes())
        if not trusted(found):
            raise ValueError("it holds no CA")
        load_authorities(SSLContext(PROTOCOL_TLS_SERVER), trusted(found))
    except _BAD as why:
        remedy = "give PEM certificates of the CAs of SAEs"
        raise Unusable(f"client_ca {path}: {_reason(why)}; {remedy}", CLIENT_CA) from why
    return tuple(dict.fromkeys(found))


def _lists(
    path: Path, authorities: tuple[x509.Certificate, ...], before: revocation.Lists | None
) -> tuple[revocation.Lists | None, list[str]]:
    try:
        octets = path.read_bytes()
    except _BAD as why:
        text = f"crl {path}: {_reason(why)}; give PEM revocation lists of the client CAs"
        return before, [text]
    lists, troubles = revocation.read(octets, authorities, before or ())
    wrong = [f"crl {path}: {why}" for why in troubles]
    try:
        load_lists(SSLContext(PROTOCOL_TLS_SERVER), lists)
    except _BAD as why:  # OpenSSL is stricter than our parser, or the other way round
        return before, [*wrong, f"crl {path}: {_reason(why)}"]
    return lists if lists or before is not None else None, wrong


def _certificates(pem: bytes) -> tuple[x509.Certificate, ...]:
    found = tuple(x509.load_pem_x509_certificates(pem))
    for each in found:  # what is damaged inside shows only when it is asked for
        _ = each.public_key(), each.subject.rfc4514_string(), each.not_valid_after_utc
    return found


def _reason(why: Exception) -> str:
    text = getattr(why, "strerror", None) or str(why)
    return text or type(why).__name__
