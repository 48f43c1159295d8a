"""Handshakes rehearsed in memory: would clients take our certificate, and would we take theirs?

Nobody but a client CA can make a certificate of that CA. So each CA gets a double: the same name,
dates, extensions and kind of key, with a key that is ours. A client of the double shakes hands
with the very context that the front end would have, its doubles in the place of the CAs. Dates are
left out: `etsi.http.dates` tells of them.
"""

import datetime
import ssl
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from etsi.http import revocation
from etsi.http.credentials import (
    Credentials,
    Pair,
    is_root,
    issued,
    load_authorities,
    load_pair,
    trusted,
)
from etsi.http.handshake import reason
from etsi.http.options import SaeIdFrom
from etsi.http.revocation import Lists, RevocationList
from etsi.http.tls import context_of, is_partial
from transport.message import Secret

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
CaKey = Key | ed448.Ed448PrivateKey

_VERSIONS = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
_TURNS = 10
_STRONG_RSA = 2_048
"""A longer key is no stronger in what matters here, and takes long to be drawn."""

_WEAK_HASHES = ("md5", "sha1")
_REVOKED = "certificate revoked"
_OF_DATES = ("expired", "not yet valid")
_NOT_COPIED = (x509.SubjectKeyIdentifier.oid, x509.AuthorityKeyIdentifier.oid)
_BAD = (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, ssl.SSLError)


class Finding(NamedTuple):
    """What came out of a rehearsal; `sure` is false when it could not be held."""

    text: str
    sure: bool = True


def of_our_own(made: Credentials, signers: Sequence[x509.Certificate]) -> list[str]:
    """Say why clients who trust these CAs refuse our certificate."""
    if not trusted(signers):
        return []
    name = _name(made.pair.chain[0])
    return [
        f"{name} is refused by clients: {why}"
        for why in _refusals(_server(made.pair, signers), _trusting(signers))
    ]


def of_clients(made: Credentials, source: SaeIdFrom) -> Iterator[Finding]:
    """Say of each CA why we would refuse its clients. Our own certificate is no matter here."""
    doubles = _Doubles(trusted(made.authorities))
    for ca, no in doubles.failed.items():
        yield Finding(f"no client of {_name(ca)} can be rehearsed: {no}", sure=False)
    if not doubles.of:
        return
    try:
        lists = doubles.lists(made.lists) if made.lists is not None else None
        server = context_of(Credentials(_stand_in(), doubles.certificates, lists))
    except (*_BAD, OSError) as no:
        yield Finding(f"no client can be rehearsed: {no}", sure=False)
        return
    partial = is_partial(trusted(made.authorities))
    for ca in doubles.of:
        if partial and revocation.names(made.lists or (), ca):  # OpenSSL asks for the leaf alone
            yield Finding(f"no client of {_name(ca)} is let in: {_REVOKED}")
            continue
        yield from _of_client(ca, doubles, server, source)


def _of_client(
    ca: x509.Certificate, doubles: "_Doubles", server: ssl.SSLContext, source: SaeIdFrom
) -> Iterator[Finding]:
    if weak := doubles.weak(ca):
        yield Finding(f"no client of {_name(ca)} is let in: {weak}")
        return
    try:
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        load_pair(client, doubles.of[ca].issue(ca, source))
    except (*_BAD, OSError) as no:
        text = f"no client of {_name(ca)} can be rehearsed: {no}"
        yield Finding(text, sure=False)
        return
    for why in _refusals(server, client):
        yield Finding(f"no client of {_name(ca)} is let in: {why}")


def _server(pair: Pair, cas: Sequence[x509.Certificate]) -> ssl.SSLContext:
    context = context_of(Credentials(pair, tuple(cas), None))
    context.verify_mode = ssl.CERT_NONE  # one thing at a time
    return context


def _trusting(signers: Sequence[x509.Certificate]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # by which name clients know us is not known here
    context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
    load_authorities(context, signers)
    return context


def _refusals(server: ssl.SSLContext, client: ssl.SSLContext) -> list[str]:
    """Shake hands with each version of TLS; return why that fails, but for dates."""
    found: dict[str, list[str]] = {}
    for version in _VERSIONS:
        client.minimum_version = client.maximum_version = version
        if why := _shake_hands(server, client):
            found.setdefault(why, []).append(version.name.replace("_", ".").replace("v", " "))
    return [
        why if len(versions) == len(_VERSIONS) else f"{why} ({', '.join(versions)})"
        for why, versions in found.items()
        if not any(text in why for text in _OF_DATES)
    ]


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> str:
    """Return why it fails, or nothing."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)]
    for _ in range(_TURNS):
        left = []
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                left.append(end)
            except ssl.SSLError as why:
                return reason(why)
        if not left:
            return ""
    return "the handshake does not end"


@dataclass(frozen=True, slots=True)
class _Double:
    """A certificate that stands for one of a client CA, with its key."""

    certificate: x509.Certificate
    key: CaKey

    def issue(self, ca: x509.Certificate, source: SaeIdFrom) -> Pair:
        """Issue a certificate of a client, as this CA may."""
        key, now = _leaf_key(), datetime.datetime.now(datetime.UTC)
        names = [x509.NameAttribute(NameOID.COMMON_NAME, "sae")]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([*_permitted_rdns(ca), x509.RelativeDistinguishedName(names)]))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage_of_client(), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        )
        builder = builder.add_extension(_issued_by(self.key), critical=False)
        if source == "san_dns":
            name = x509.DNSName(_permitted_host(ca))
            builder = builder.add_extension(x509.SubjectAlternativeName([name]), critical=False)
        made = builder.sign(self.key, _hash(self.key))
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Pair(made.public_bytes(Encoding.PEM), Secret(private), (made,))


class _Doubles:
    """The doubles of all CAs of a bundle, signed by one another as those are.

    `failed` says of those that have none why that is.
    """

    def __init__(self, cas: Sequence[x509.Certificate]) -> None:
        self._cas = cas
        self.of: dict[x509.Certificate, _Double] = {}
        self.failed: dict[x509.Certificate, str] = {}
        for ca in cas:
            try:
                self._make(ca, frozenset())
            except _BAD as why:
                self.failed[ca] = str(why)

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """All of them, in the order of the bundle."""
        return tuple(self.of[ca].certificate for ca in self._cas if ca in self.of)

    def weak(self, ca: x509.Certificate) -> str:
        """Tell what OpenSSL has against the signature of a CA, which a double cannot show."""
        above = next((one for one in self._cas if one is not ca and issued(ca, one)), None)
        algorithm = ca.signature_hash_algorithm
        if is_root(ca) or above is None or algorithm is None:
            return ""  # nobody looks at the signature of the one that is trusted
        if algorithm.name in _WEAK_HASHES:
            return f"the CA is signed with {algorithm.name.upper()}, which OpenSSL takes no more"
        return self.weak(above)

    def lists(self, of: Lists) -> Lists:
        """Make revocation lists of the doubles: of what is revoked only other CAs matter."""
        serials = {ca.serial_number for ca in self._cas}
        return tuple(
            self._list(one, ca, one.serials & serials)
            for one in of
            for ca in self.of
            if ca.subject.public_bytes() == one.issuer
        )

    def _make(self, ca: x509.Certificate, under_way: frozenset[x509.Certificate]) -> _Double:
        if ca in self.of:
            return self.of[ca]
        key = _like(ca)
        above = None
        if not is_root(ca):
            below = under_way | {ca}
            others = (one for one in self._cas if one not in below and issued(ca, one))
            above = next((self._make(one, below) for one in others), None)
        signer = above.key if above else key
        builder = (
            x509.CertificateBuilder()
            .subject_name(ca.subject)
            .issuer_name(ca.issuer)
            .public_key(key.public_key())
            .serial_number(ca.serial_number)
            .not_valid_before(ca.not_valid_before_utc)
            .not_valid_after(ca.not_valid_after_utc)
        )
        if ca.version is not x509.Version.v3:
            raise ValueError(f"{_name(ca)} is of version 1, which cannot be made")
        for one in ca.extensions:
            if one.oid not in _NOT_COPIED:
                builder = builder.add_extension(one.value, critical=one.critical)
        ski = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = builder.add_extension(ski, critical=False)
        builder = builder.add_extension(_issued_by(signer), critical=False)
        self.of[ca] = made = _Double(builder.sign(signer, _hash(signer)), key)
        return made

    def _list(
        self, one: RevocationList, ca: x509.Certificate, serials: frozenset[int]
    ) -> RevocationList:
        builder = x509.CertificateRevocationListBuilder().issuer_name(ca.subject)
        since = datetime.datetime.fromtimestamp(one.since, datetime.UTC)
        last = since + datetime.timedelta(days=36_500)
        with suppress(ValueError, OverflowError):  # one that is never out of date
            last = datetime.datetime.fromtimestamp(one.due, datetime.UTC)
        builder = builder.last_update(since).next_update(last)
        for serial in sorted(serials):
            row = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(since)
            builder = builder.add_revoked_certificate(row.build())
        key = self.of[ca].key
        builder = builder.add_extension(_issued_by(key), critical=False)
        pem = builder.sign(key, _hash(key)).public_bytes(Encoding.PEM)
        return RevocationList(pem, one.issuer, one.key, one.name, one.since, one.due, serials)


def _stand_in() -> Pair:
    """Make a certificate that has nothing against it, for clients who do not look."""
    key, now = _leaf_key(), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kms")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Pair(made.public_bytes(Encoding.PEM), Secret(private), (made,))


def _like(ca: x509.Certificate) -> CaKey:
    """Draw a key of the kind that a CA has."""
    public = ca.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        return _rsa(min(public.key_size, _STRONG_RSA))
    if isinstance(public, ec.EllipticCurvePublicKey):
        return ec.generate_private_key(public.curve)
    if isinstance(public, ed25519.Ed25519PublicKey):
        return ed25519.Ed25519PrivateKey.generate()
    if isinstance(public, ed448.Ed448PublicKey):
        return ed448.Ed448PrivateKey.generate()
    raise ValueError(f"the key of {_name(ca)} is of a kind that cannot be made")


@lru_cache(8)
def _rsa(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, bits)


@lru_cache(1)
def _leaf_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _hash(key: CaKey) -> hashes.SHA256 | None:
    edwards = isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return None if edwards else hashes.SHA256()


def _issued_by(key: CaKey) -> x509.AuthorityKeyIdentifier:
    """Tell CAs of one name apart."""
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _usage_of_client() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _permitted(ca: x509.Certificate) -> Sequence[x509.GeneralName]:
    with suppress(x509.ExtensionNotFound):
        found = ca.extensions.get_extension_for_class(x509.NameConstraints).value
        return list(found.permitted_subtrees or ())
    return []


def _permitted_rdns(ca: x509.Certificate) -> list[x509.RelativeDistinguishedName]:
    """Return what the name of a client has to begin with."""
    names = [one.value for one in _permitted(ca) if isinstance(one, x509.DirectoryName)]
    return list(names[0].rdns) if names else []


def _permitted_host(ca: x509.Certificate) -> str:
    names = [one.value for one in _permitted(ca) if isinstance(one, x509.DNSName)]
    return f"sae.{names[0].lstrip('.')}" if names else "sae.example"


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()[:200] or f"number {certificate.serial_number:x}"
