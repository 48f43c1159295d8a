"""TLS of the front ends: the context of a server, from what its files hold.

All verify flags are written out: the defaults of Python and OpenSSL differ by version.
"""

import ssl
from collections.abc import Sequence

from cryptography import x509

from etsi.http import credentials, revocation
from etsi.http.credentials import (
    Credentials,
    Unusable,
    is_root,
    issued,
    load_authorities,
    load_lists,
    load_pair,
    trusted,
)
from etsi.http.handshake import ServerContext
from etsi.http.identity import DenyList, denied
from etsi.http.options import HttpOptions

__all__ = ["Unusable", "context_of", "deny_list", "server_context", "verify_flags"]


def server_context(options: HttpOptions) -> ssl.SSLContext:
    """Make the context from files, or raise `Unusable`."""
    return context_of(credentials.read(options)[0])


def context_of(made: Credentials) -> ssl.SSLContext:
    """Make the context: TLS 1.2 or later, client certificates, no tickets, no renegotiation."""
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
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
    load_pair(context, made.pair)
    cas = trusted(made.authorities)
    load_authorities(context, cas)
    load_lists(context, made.lists or ())
    context.verify_flags = verify_flags(cas, listed=made.lists is not None)
    return context


def deny_list(made: Credentials, deny: tuple[str, ...]) -> DenyList:
    """Say whom not to serve: the deny list as given, and the revocation lists."""
    if made.lists is None:
        return DenyList(denied(deny))
    return DenyList(denied(deny), revocation.revoked(made.lists), revocation.due(made.lists))


def verify_flags(cas: Sequence[x509.Certificate], *, listed: bool) -> ssl.VerifyFlags:
    """Choose how OpenSSL verifies the chain of a client.

    When each CA stands below a root that is here too, chains go up to a root, and OpenSSL asks for
    the list of every CA on the way (`-crl_check_all`). An issuing CA without its root needs partial
    chains. Those end at the first CA that is known, whose own list nobody could check; so OpenSSL
    asks for that of the leaf, and `etsi.http.identity.DenyList` for the others.
    """
    flags = ssl.VERIFY_X509_TRUSTED_FIRST
    partial = is_partial(cas)
    if partial:
        flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if listed:
        flags |= ssl.VERIFY_CRL_CHECK_LEAF if partial else ssl.VERIFY_CRL_CHECK_CHAIN
    return flags


def is_partial(cas: Sequence[x509.Certificate]) -> bool:
    """Tell whether any of these CAs has no root among them."""
    return not all(is_root(ca) or any(issued(ca, above) for above in cas) for ca in cas)
