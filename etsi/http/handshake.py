"""The server's side of TLS handshakes: a refusal sends its alert, and tells who was refused.

Both asyncio and uvloop drop what OpenSSL has left to send once a handshake has failed: clients see
the end of a connection, or a reset, where OpenSSL meant to say `certificate_expired`. So a failure
is kept back here: the loop hears that OpenSSL wants to read on, sends what there is, and waits.
Whoever listens for `ON_REFUSAL` ends the connection if the client does not.
"""

import _ssl
import contextvars
import hashlib
import ssl
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

Refusal = Callable[[ssl.SSLError, bytes], None]
"""Hears why a handshake failed, and the certificate that was shown (DER; empty: none)."""

ON_REFUSAL: contextvars.ContextVar[Refusal | None] = contextvars.ContextVar("on_refusal")
"""Who hears of a handshake that is refused; to be set where a connection is accepted."""

_SESSIONS = 20_480  # that OpenSSL remembers for each context
_CAS = 1_024
_CERTIFICATE = 11  # the handshake message that holds a chain
_TLS_1_3 = 0x304
_SHOWN_MAX = 1 << 16  # octets


class Handshake(ssl.SSLObject):
    """The state of one TLS connection; a failure of its handshake is told once it was sent."""

    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO
    shown = b""
    """The certificate that the client has shown, in DER, proved or not."""

    looked_at: ssl.SSLContext
    """The context of its handshake; once that is over, it has one that looks at no record."""

    _refused = False

    def do_handshake(self) -> None:
        """Go on with the handshake; after a failure that is to be sent, want to read for ever."""
        if self._refused:
            self.incoming.read()  # what a client says after its alert is of no use
            raise ssl.SSLWantReadError
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as why:
            hear = ON_REFUSAL.get(None)
            if hear is None:
                raise
            hear(why, self.shown)
            if not self.outgoing.pending:
                raise  # the client has refused us: there is nothing to be said
            self._refused = True
            raise ssl.SSLWantReadError from None
        self.shown = b""
        self.looked_at = self.context
        if isinstance(self.looked_at, ServerContext):
            self.context = self.looked_at.established

    def proved(self) -> tuple[bytes, ...]:
        """Return the chain that OpenSSL has verified, in DER: leaf first, then its CAs."""
        leaf = self.getpeercert(binary_form=True)
        if not leaf:
            return ()
        above = tuple(_verified(self)[1:])
        if isinstance(self.looked_at, ServerContext) and self.version() != "TLSv1.3":
            above = self.looked_at.recall(leaf, above, resumed=bool(self.session_reused))
        return (leaf, *above)


class ServerContext(ssl.SSLContext):
    """Makes handshakes that tell why they fail.

    A client may resume a session of TLS 1.2. OpenSSL then knows its certificate, not the chain
    that it has verified before; that is remembered here, as long as OpenSSL may.

    `established` is for connections whose handshake is over. OpenSSL tells of every record, and
    each time costs some µs of Python; who is asked is the context that a connection has just then.
    """

    sslobject_class = Handshake

    def __init__(self, *_: Any) -> None:
        self._above: OrderedDict[bytes, tuple[bytes, ...]] = OrderedDict()
        self._same: dict[bytes, bytes] = {}
        # Without it OpenSSL tells nothing of a certificate that it refuses. The name is not
        # public; should it go, the log has addresses without names.
        self._msg_callback = _look
        self.established = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Make the state of one connection."""
        made = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        assert isinstance(made, Handshake)
        made.incoming, made.outgoing = incoming, outgoing
        return made

    def recall(self, leaf: bytes, above: tuple[bytes, ...], *, resumed: bool) -> tuple[bytes, ...]:
        """Remember the CAs above a leaf; when its session was resumed, return those of before."""
        name = hashlib.sha256(leaf).digest()
        if resumed:
            above = self._above.get(name, ())
        if len(self._same) > _CAS:
            self._same.clear()
        self._above[name] = above = tuple(self._same.setdefault(ca, ca) for ca in above)
        self._above.move_to_end(name)
        if len(self._above) > _SESSIONS:
            self._above.popitem(last=False)
        return above


def reason(why: ssl.SSLError) -> str:
    """Say in OpenSSL's words why a handshake failed."""
    if isinstance(why, ssl.SSLCertVerificationError):
        return why.verify_message
    return why.reason or type(why).__name__


def _look(
    conn: object, direction: str, version: int, _content: int, kind: int, data: bytes
) -> None:
    if direction == "read" and kind == _CERTIFICATE and isinstance(conn, Handshake):
        conn.shown = _first(data[:_SHOWN_MAX], version)


def _first(message: bytes, version: int) -> bytes:
    """Take the first certificate out of a Certificate message (RFC 5246 7.4.2, RFC 8446 4.4.2)."""
    at = 8 if version == _TLS_1_3 else 7
    octets = int.from_bytes(message[at : at + 3], "big")
    return message[at + 3 : at + 3 + octets]


def _verified(tls: ssl.SSLObject) -> list[bytes]:
    public = getattr(tls, "get_verified_chain", None)
    if public:
        return list(public())
    inner: Any = tls  # Python 3.11 and 3.12, which change no more, have it under this name
    found = inner._sslobj.get_verified_chain() or ()
    return [one.public_bytes(_ssl.ENCODING_DER) for one in found]
