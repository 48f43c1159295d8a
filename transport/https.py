"""TLS of a client that closes what it opens, whatever happens on the way."""

import http.client
import socket
import ssl
from contextlib import suppress
from pathlib import Path


def client_context(
    ca: Path, certificate: Path, key: Path, password: str | None = None
) -> ssl.SSLContext:
    """Make the TLS of a client that trusts this CA alone, and shows this certificate.

    `ssl.create_default_context` would write the secrets of each session to a file if the
    environment says so (SSLKEYLOGFILE), and be stricter or less so with each version of Python.
    `OSError` if a file is no good. `password` is that of the key; None: whoever is at the terminal
    is asked for it, should there be one.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which checks certificate and name
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.load_verify_locations(ca)
    made.load_cert_chain(certificate, key, password=password)
    return made


def connect(
    context: ssl.SSLContext,
    address: tuple[str, int],
    timeout: float | None = 10.0,
    name: str | None = None,
    session: ssl.SSLSession | None = None,
) -> ssl.SSLSocket:
    """Connect and shake hands, in this order: each address of the host, until one answers.

    `wrap_socket` of a connection that the server has reset by then raises, and leaves a socket
    behind that nobody can close (Python 3.11 and 3.12); so what is wrapped here has no connection
    yet. `name` is the server's, if not the host's.
    """
    host, port = address
    failed: OSError | None = None
    for family, kind, number, _, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        plain = socket.socket(family, kind, number)
        made = context.wrap_socket(plain, server_hostname=name or host, session=session)
        try:
            made.settimeout(timeout)
            made.connect(place)
        except OSError as why:
            made.close()
            if isinstance(why, ssl.SSLError):  # it answers, so another address is no better
                raise
            failed = why
        else:
            return made
    raise failed or OSError(host)


class HttpsConnection(http.client.HTTPSConnection):
    """A connection of `http.client` that is made by `connect`; no proxies.

    `name` is the server's, if not the host's.
    """

    def __init__(
        self,
        host: str,
        port: int | None,
        *,
        timeout: float,
        context: ssl.SSLContext,
        name: str | None = None,
    ) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._tls, self._name = context, name
        self._made: ssl.SSLSocket | None = None
        self._ended = False

    def cut(self) -> None:
        """End the connection under whoever waits for an answer, until `close`; by any thread.

        `http.client` forgets the socket of an answer that is its last, and goes on to read of it.
        """
        self._ended = True
        if self._made is not None:
            with suppress(OSError):  # it is gone already
                socket.socket.shutdown(self._made, socket.SHUT_RDWR)  # of TLS nothing is to be said

    def connect(self) -> None:
        """Connect and shake hands."""
        self._made = connect(self._tls, (self.host, self.port), self.timeout, self._name)
        if self._ended:
            self._made.close()
            raise TimeoutError(self.host)
        self.sock = self._made
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Close it; the next request makes another."""
        super().close()
        self._ended = False  # the socket is kept: of an answer that is the last it is read still
