"""Who calls: a client certificate, read once per connection, and whom the gate turns away."""

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from etsi.options import SaeIdFrom

_LONGEST_ID = 256
_NAMES: dict[SaeIdFrom, str] = {"cn": "CN", "san_uri": "URI", "san_dns": "DNS name"}


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a client certificate names; `trouble` says why it names nobody.

    `fingerprint` is the SHA-256 of the certificate in lower-case hex, `issuer` its issuer's name
    in DER, `not_after` seconds since 1970.
    """

    sae: str
    fingerprint: str = ""
    issuer: bytes = b""
    serial: int = 0
    not_after: float = float("inf")
    trouble: str = ""


def read(der: bytes | None, sae_id_from: SaeIdFrom) -> Caller:
    """Read a certificate; never raises, since what is in it was chosen by somebody else."""
    if not der:
        return Caller("", trouble="no client certificate")
    try:
        certificate = x509.load_der_x509_certificate(der)
        fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
        sae, trouble = _sae_id(certificate, fingerprint, sae_id_from)
        return Caller(
            sae,
            fingerprint,
            certificate.issuer.public_bytes(),
            certificate.serial_number,
            certificate.not_valid_after_utc.timestamp(),
            trouble,
        )
    except (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return Caller("", trouble="the client certificate cannot be read")


def _sae_id(cert: x509.Certificate, fingerprint: str, source: SaeIdFrom) -> tuple[str, str]:
    if source == "fingerprint":
        return fingerprint, ""
    names = _common_names(cert) if source == "cn" else _alternative_names(cert, source)
    if len(names) != 1:
        return "", f"the client certificate holds {len(names)} {_NAMES[source]}s instead of one"
    name = names[0]
    if not (0 < len(name) <= _LONGEST_ID and name.isprintable()):
        return "", f"the {_NAMES[source]} of the client certificate is no SAE ID"
    return name, ""


def _common_names(cert: x509.Certificate) -> list[str]:
    found = cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return [name.value for name in found if isinstance(name.value, str)]


def _alternative_names(cert: x509.Certificate, source: SaeIdFrom) -> list[str]:
    try:
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    if source == "san_uri":
        return names.get_values_for_type(x509.UniformResourceIdentifier)
    return names.get_values_for_type(x509.DNSName)


@dataclass(frozen=True, slots=True)
class Gate:
    """Whom not to serve: SAE ids, fingerprints, and (issuer, serial) of revoked certificates.

    It is asked at every request, so that a new gate also acts on connections already open.
    """

    denied: frozenset[str] = frozenset()
    revoked: frozenset[tuple[bytes, int]] = frozenset()

    def objection(self, caller: Caller, now: float) -> str:
        """Say why this caller is not served, or nothing; `now` in seconds since 1970."""
        if caller.trouble:
            return caller.trouble
        if caller.sae in self.denied or caller.fingerprint in self.denied:
            return "this SAE is denied"
        if (caller.issuer, caller.serial) in self.revoked:
            return "the client certificate is revoked"
        if now > caller.not_after:
            return "the client certificate has expired"
        return ""


def denied(entries: tuple[str, ...]) -> frozenset[str]:
    """Read a deny list; fingerprints may be written in capitals and with colons."""
    return frozenset(entries) | frozenset(
        plain for plain in (entry.replace(":", "").lower() for entry in entries) if _is_print(plain)
    )


def _is_print(text: str) -> bool:
    octets = hashes.SHA256.digest_size
    return len(text) == 2 * octets and set(text) <= set("0123456789abcdef")
