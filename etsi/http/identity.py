"""Who calls: a client certificate, read once per connection, and who is not served."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol
from urllib.parse import quote, unquote

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from etsi.http.call import Caller, Identify
from etsi.http.handshake import Handshake
from etsi.http.options import SaeIdFrom, id_fault

SAE_URN = "urn:protokms:sae:"
"""What a SAN URI begins with that holds an SAE id, percent-encoded: one that fits no CN."""

_LONGEST_CLAIM = 80
_NAMES: dict[SaeIdFrom, str] = {"cn": "CN", "san_uri": "URI", "san_dns": "DNS name"}


class Naming(Protocol):
    """Tells which SAE a certificate stands for."""

    def name(
        self, certificate: x509.Certificate, fingerprint: str, cas: Sequence[str]
    ) -> tuple[str, str]:
        """Return the id of the SAE, and why there is none.

        `cas` are the fingerprints of the CAs above, nearest first.
        """
        ...


@dataclass(frozen=True, slots=True)
class Plain:
    """Takes the id that the certificate holds at this place."""

    source: SaeIdFrom

    def name(
        self, certificate: x509.Certificate, fingerprint: str, _: Sequence[str]
    ) -> tuple[str, str]:
        """Return the id of the SAE, and why there is none."""
        if self.source == "fingerprint":
            return fingerprint, ""
        if self.source == "table":
            return "", "the client certificate is not in the table of SAEs"
        cn = self.source == "cn"
        names = common_names(certificate) if cn else alternative_names(certificate, self.source)
        kind = _NAMES[self.source]
        if len(names) != 1:
            return "", f"the client certificate holds {len(names)} {kind}s instead of one"
        name = names[0]
        if self.source == "san_uri" and name.startswith(SAE_URN):
            name = unquote(name.removeprefix(SAE_URN), errors="strict")
        if id_fault(name):
            return "", f"the {kind} of the client certificate is no SAE ID"
        return name, ""


def by_certificate(sae_id_from: SaeIdFrom) -> Identify:
    """Make the function that reads the certificate at the other end of a TLS connection."""
    naming = Plain(sae_id_from)
    return by_naming(lambda: naming)


def by_naming(naming: Callable[[], Naming]) -> Identify:
    """Make the function that reads it, with the naming that holds when it is called."""

    def identify(transport: asyncio.BaseTransport) -> Caller:
        tls = transport.get_extra_info("ssl_object")
        return read_chain(tls.proved() if isinstance(tls, Handshake) else (), naming())

    return identify


def read(der: bytes | None, sae_id_from: SaeIdFrom) -> Caller:
    """Read a certificate for itself; never raises."""
    return read_chain((der,) if der else (), Plain(sae_id_from))


def read_chain(chain: Sequence[bytes], naming: Naming) -> Caller:
    """Read a proved chain, leaf first; never raises: what is in it was chosen by somebody else."""
    if not (chain and chain[0]):
        return Caller("", trouble="no client certificate")
    try:
        certificate = x509.load_der_x509_certificate(chain[0])
        cas = [_ca(der) for der in chain[1:]]
        fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
        sae, trouble = naming.name(certificate, fingerprint, [ca.fingerprint for ca in cas])
        return Caller(
            sae,
            fingerprint,
            certificate.issuer.public_bytes(),
            certificate.serial_number,
            min(_end(certificate), *(ca.not_after for ca in cas), float("inf")),
            trouble,
            tuple((ca.issuer, ca.serial) for ca in cas),
        )
    except (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return Caller("", trouble="the client certificate cannot be read")


class _Ca(NamedTuple):
    """What matters of a CA above a client."""

    fingerprint: str
    issuer: bytes
    serial: int
    not_after: float


@lru_cache(256)
def _ca(der: bytes) -> _Ca:
    ca = x509.load_der_x509_certificate(der)
    fingerprint = ca.fingerprint(hashes.SHA256()).hex()
    return _Ca(fingerprint, ca.issuer.public_bytes(), ca.serial_number, _end(ca))


def _end(certificate: x509.Certificate) -> float:
    return certificate.not_valid_after_utc.timestamp()


def sae_urn(sae: str) -> str:
    """Write an SAE id as a URI."""
    return SAE_URN + quote(sae, safe="")


def claims(der: bytes) -> tuple[str, str]:
    """Tell whom a certificate names, and who signed it; nothing of it need be true.

    Both are short and printable, for the log.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = [
            *common_names(certificate),
            *alternative_names(certificate, "san_dns"),
            *alternative_names(certificate, "san_uri"),
        ]
        return _plain(names[0] if names else ""), _plain(certificate.issuer.rfc4514_string())
    except (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return "", ""


def _plain(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text[:_LONGEST_CLAIM])


def common_names(cert: x509.Certificate) -> list[str]:
    """Return the CNs of a certificate."""
    found = cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return [name.value for name in found if isinstance(name.value, str)]


def alternative_names(cert: x509.Certificate, source: SaeIdFrom) -> list[str]:
    """Return the URIs of a certificate (`san_uri`), or its DNS names."""
    try:
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    if source == "san_uri":
        return names.get_values_for_type(x509.UniformResourceIdentifier)
    return names.get_values_for_type(x509.DNSName)


@dataclass(frozen=True, slots=True)
class DenyList:
    """Whom not to serve: SAE ids, fingerprints, and (issuer, serial) of revoked certificates.

    It is asked at every request, so that a new one also acts on connections already open. `due`
    says until when there is a revocation list of a CA, by its name in DER; None when nobody asks
    for lists.
    """

    denied: frozenset[str] = frozenset()
    revoked: frozenset[tuple[bytes, int]] = frozenset()
    due: Mapping[bytes, float] | None = None

    def objection(self, caller: Caller, now: float) -> str:
        """Say why this caller is not served, or nothing; `now` in seconds since 1970."""
        if caller.trouble:
            return caller.trouble
        if caller.sae in self.denied or caller.fingerprint in self.denied:
            return "this SAE is denied"
        if (caller.issuer, caller.serial) in self.revoked:
            return "the client certificate is revoked"
        if not self.revoked.isdisjoint(caller.above):
            return "a CA of the client certificate is revoked"
        if now > caller.not_after:
            return "the client certificate, or a CA of it, has expired"
        return self._unlisted(caller, now) if self.due is not None else ""

    def _unlisted(self, caller: Caller, now: float) -> str:
        """Say which CA has no valid list; of the last one, which is trusted, none is needed."""
        due = self.due or {}
        for issuer in (caller.issuer, *(issuer for issuer, _ in caller.above[:-1])):
            if now > due.get(issuer, -1.0):
                return "there is no valid revocation list of a CA of the client certificate"
        return ""


def denied(entries: tuple[str, ...]) -> frozenset[str]:
    """Read a deny list; fingerprints may be written in capitals and with colons."""
    return frozenset(entries) | frozenset(filter(None, map(plain_print, entries)))


def plain_print(text: str) -> str:
    """Return a SHA-256 fingerprint in lower case without colons; nothing if the text is none."""
    plain = text.replace(":", "").lower()
    octets = hashes.SHA256.digest_size
    fits = len(plain) == 2 * octets and set(plain) <= set("0123456789abcdef")
    return plain if fits else ""
