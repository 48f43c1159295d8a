"""TLS handshakes in memory: a server's context against a client, with nothing between them."""

import ssl
from pathlib import Path

from etsi.http.call import Caller
from etsi.http.handshake import Handshake
from etsi.http.identity import Naming, Plain, read_chain

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def shake(
    server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> tuple[Handshake, ssl.SSLObject]:
    """Shake hands; `ssl.SSLError` of whichever side fails first."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(there, back, server_side=True)
    theirs = client.wrap_bio(back, there, server_hostname="localhost", session=session)
    waiting = [theirs, ours]
    while waiting:
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
    assert isinstance(ours, Handshake)
    return ours, theirs


def client(ca: Path, crt: Path, version: ssl.TLSVersion = V13) -> ssl.SSLContext:
    """Make the context of a client with this certificate; its key lies beside it."""
    made = ssl.create_default_context(cafile=str(ca))
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT  # certificates of tests are plain ones
    made.minimum_version = made.maximum_version = version
    made.load_cert_chain(crt, crt.with_suffix(".key"))
    return made


def caller(server: ssl.SSLContext, client: ssl.SSLContext, naming: Naming | None = None) -> Caller:
    """Shake hands and tell who called."""
    return read_chain(shake(server, client)[0].proved(), naming or Plain("cn"))
