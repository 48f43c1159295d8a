"""TLS of the front ends: one server context, and the gate, from files."""

import ssl
from pathlib import Path

from cryptography import x509

from etsi.identity import Gate, denied
from etsi.options import Options

_END = b"-----END X509 CRL-----"


class Unusable(Exception):
    """A certificate, key or CRL cannot be used; the text names the file, the reason, the remedy."""


def server_context(options: Options) -> ssl.SSLContext:
    """Make the context: TLS 1.2 or later, client certificates, no tickets, no renegotiation.

    Raise `Unusable` if a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")  # of TLS 1.2: forward secret AEADs alone
    context.set_alpn_protocols(["http/1.1"])
    context.num_tickets = 0
    context.options |= (
        ssl.OP_NO_TICKET
        | ssl.OP_NO_RENEGOTIATION
        | ssl.OP_NO_COMPRESSION
        | ssl.OP_CIPHER_SERVER_PREFERENCE
    )
    try:
        # Without a password OpenSSL would ask for one on the terminal, and wait.
        context.load_cert_chain(options.certificate, options.key, password="")
    except (OSError, ValueError) as why:
        files = f"certificate {options.certificate}, key {options.key}"
        remedy = "give a PEM chain and its unencrypted PEM key"
        raise Unusable(f"{files}: {_reason(why)}; {remedy}") from why
    _load(context, options.client_ca, "client_ca", "give PEM certificates of the CAs of SAEs")
    if options.crl is not None:
        _load(context, options.crl, "crl", "give PEM revocation lists of these CAs")
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context


def gate(options: Options, deny: tuple[str, ...]) -> Gate:
    """Read whom not to serve: the deny list as given, and the CRL file; or raise `Unusable`."""
    revoked: frozenset[tuple[bytes, int]] = frozenset()
    if options.crl is not None:
        try:
            authorities = x509.load_pem_x509_certificates(Path(options.client_ca).read_bytes())
            revoked = _revoked(Path(options.crl).read_bytes(), authorities)
        except (OSError, ValueError) as why:
            raise Unusable(f"crl {options.crl}: {_reason(why)}") from why
    return Gate(denied(deny), revoked)


def expiry(options: Options) -> float:
    """Return when the server certificate expires, in seconds since 1970; or raise `Unusable`."""
    try:
        found = x509.load_pem_x509_certificates(Path(options.certificate).read_bytes())
        return found[0].not_valid_after_utc.timestamp()
    except (OSError, ValueError) as why:
        raise Unusable(f"certificate {options.certificate}: {_reason(why)}") from why


def _load(context: ssl.SSLContext, path: str, name: str, remedy: str) -> None:
    try:
        context.load_verify_locations(cafile=path)
    except (OSError, ValueError) as why:
        raise Unusable(f"{name} {path}: {_reason(why)}; {remedy}") from why


def _revoked(pem: bytes, authorities: list[x509.Certificate]) -> frozenset[tuple[bytes, int]]:
    found: set[tuple[bytes, int]] = set()
    for text in pem.split(_END)[:-1]:
        crl = x509.load_pem_x509_crl(text + _END + b"\n")
        signers = [ca for ca in authorities if ca.subject == crl.issuer]
        if not any(crl.is_signature_valid(ca.public_key()) for ca in signers):  # type: ignore[arg-type]  # the key types of CAs
            raise ValueError(f"{crl.issuer.rfc4514_string()} signed it, which is not in client_ca")
        issuer = crl.issuer.public_bytes()
        found |= {(issuer, row.serial_number) for row in crl}
    return frozenset(found)


def _reason(why: Exception) -> str:
    text = getattr(why, "strerror", None) or str(why)
    return text or type(why).__name__
