"""Client keys on Brainpool curves: the file that adds the groups, and what a client can use here.

OpenSSL takes groups of its own accord from the file that OPENSSL_CONF names, as it is loaded, and
Python's `ssl` cannot add any later. So a node that is to have them starts itself anew, once, with
that variable set. Whether it has helped is tried: handshakes in memory, with the context that the
front end makes.
"""

import datetime
import os
import ssl
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from etsi.http.credentials import Credentials, Pair, load_pair
from etsi.http.tls import context_of
from transport.message import Secret

FILE = Path(__file__).with_suffix(".cnf")
"""What OPENSSL_CONF is set to."""

CURVES: tuple[ec.EllipticCurve, ...] = (
    ec.BrainpoolP256R1(),
    ec.BrainpoolP384R1(),
    ec.BrainpoolP512R1(),
)
_VARIABLE = "OPENSSL_CONF"
_VERSIONS = {"TLS 1.2": ssl.TLSVersion.TLSv1_2, "TLS 1.3": ssl.TLSVersion.TLSv1_3}
_DAY = datetime.timedelta(days=1)


def begin_anew() -> None:
    """Start this very command anew with the groups; return if a file is set: ours, or another.

    The process keeps its id, so a service manager sees no change.
    """
    if _VARIABLE not in os.environ:
        command = [sys.executable, *sys.orig_argv[1:]]
        os.execve(command[0], command, os.environ | {_VARIABLE: str(FILE)})  # noqa: S606 -- itself


def usable() -> Mapping[str, Sequence[str]]:
    """Tell for each curve with which versions of TLS a client with such a key gets in."""
    return {
        curve.name: tuple(name for name, version in _VERSIONS.items() if _gets_in(curve, version))
        for curve in CURVES
    }


def trouble(found: Mapping[str, Sequence[str]]) -> tuple[str, str] | None:
    """Tell what is wrong, and what to do, if there is a curve with which no client gets in."""
    shut = [curve for curve, versions in found.items() if not versions]
    if not shut:
        return None
    reason = f"no client with a key on {', '.join(shut)} gets in with {ssl.OPENSSL_VERSION}"
    own = os.environ.get(_VARIABLE)
    return reason, f"unset {_VARIABLE}, or add the groups to {own}, as in {FILE.name}"


def in_words(found: Mapping[str, Sequence[str]]) -> str:
    """Say what `usable` has found."""
    each = (f"{curve} {' and '.join(versions) or 'none'}" for curve, versions in found.items())
    return f"client keys may use ({ssl.OPENSSL_VERSION}): {', '.join(each)}"


def _gets_in(curve: ec.EllipticCurve, version: ssl.TLSVersion) -> bool:
    with suppress(ssl.SSLError, UnsupportedAlgorithm):
        pair = _pair(curve)
        server = context_of(Credentials(_pair(ec.SECP256R1()), pair.chain, None))
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        client.minimum_version = client.maximum_version = version
        load_pair(client, pair)
        _shake_hands(server, client)
        return True
    return False


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    waiting = [
        client.wrap_bio(back, there),
        server.wrap_bio(there, back, server_side=True),
    ]
    while waiting:
        for side in list(waiting):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
                waiting.remove(side)


def _pair(curve: ec.EllipticCurve) -> Pair:
    """Make a key, and a certificate signed by itself: whoever trusts it needs no CA."""
    key = ec.generate_private_key(curve)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"a client on {curve.name}")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
        .sign(key, hashes.SHA256())
    )
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Pair(made.public_bytes(Encoding.PEM), Secret(text), (made,))
