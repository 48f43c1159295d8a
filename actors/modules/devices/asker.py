"""Asks a QKD device over mutual TLS, on a thread: nothing takes longer than it may."""

import http.client
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from actors.modules.devices.device import DeviceError
from transport.https import client_context

TIMEOUT_S = (0.1, 60.0)
_JOIN_S = 2.0

Request = TypeVar("Request")
Answer = TypeVar("Answer")
Asked_contra = TypeVar("Asked_contra", contravariant=True)
Given_co = TypeVar("Given_co", covariant=True)


class Client(Protocol[Asked_contra, Given_co]):
    """One connection to a device; for one thread, but for `abort`."""

    def ask(self, request: Asked_contra) -> Given_co:
        """Ask once, within its time; `DeviceError` if nothing good comes."""
        ...

    def abort(self) -> None:
        """End a request that is under way, and ask no more; for any thread."""
        ...

    def close(self) -> None:
        """Close the connection; the next request opens one."""
        ...


class Thread(Generic[Request, Answer]):
    """Asks a device what it is told to, one request after the other, on a thread of its own."""

    def __init__(self, client: Client[Request, Answer], name: str) -> None:
        self._client = client
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._stopping = threading.Event()

    def start(
        self,
        done: Callable[[Request, Answer | DeviceError], None],
        broken: Callable[[BaseException], None],
    ) -> None:
        """Begin; `done` is called on the thread, and `broken` if that comes to an end."""
        self._done, self._broken = done, broken
        self._thread.start()

    def ask(self, request: Request) -> None:
        """Ask this when what was asked before is answered; never blocks."""
        self._requests.put(request)

    def stop(self) -> None:
        """End the thread, and what is under way."""
        self._stopping.set()
        self._requests.put(None)
        self._client.abort()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        try:
            while (request := self._requests.get()) is not None and not self._stopping.is_set():
                try:
                    answer: Answer | DeviceError = self._client.ask(request)
                except DeviceError as why:
                    answer = why
                if not self._stopping.is_set():
                    self._done(request, answer)
        except Exception as why:  # the link must hear of it, whatever it is
            if not self._stopping.is_set():
                self._broken(why)
        finally:
            self._client.close()


class Timed(ssl.SSLSocket):
    """A TLS socket on which all that is read comes until one moment, however it drips."""

    until = 0.0

    def recv_into(self, *args: Any, **named: Any) -> int:
        """Read, if there is time left: also of a device that never stops talking."""
        self.settimeout(left(self.until))
        return super().recv_into(*args, **named)


def context(ca: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """Read the files anew, so that a renewed certificate is used at once; sockets are `Timed`."""
    try:
        made = client_context(ca, certificate, key, password="")
    except (OSError, ValueError) as why:
        raise DeviceError("tls", f"our certificate, key or ca: {said(why)}") from None
    made.sslsocket_class = Timed
    return made


@contextmanager
def explained(timeout_s: float, close: Callable[[], None]) -> Iterator[None]:
    """Make a `DeviceError` of whatever hinders a request, and have its connection closed."""
    try:
        yield
    except DeviceError:
        close()
        raise
    except TimeoutError:
        close()
        raise DeviceError("timeout", f"no answer within {timeout_s:g} s") from None
    except ssl.SSLCertVerificationError as why:
        close()
        text = f"its certificate is refused: {why.verify_message}"
        raise DeviceError("tls", text) from None
    except (ssl.SSLError, OSError, http.client.HTTPException, ValueError) as why:
        close()
        kind = "tls" if isinstance(why, ssl.SSLError) else "no_answer"
        raise DeviceError(kind, said(why)) from None


def shut_down(sock: ssl.SSLSocket | None) -> None:
    """End whatever another thread reads or writes there."""
    if sock:
        with suppress(OSError):
            # Not that of the TLS socket, which would pull the ground from under a reader.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)


def left(until: float) -> float:
    """Return the seconds until then; `TimeoutError` if there are none."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def said(why: BaseException) -> str:
    """Tell an error of the system, with no more of the device's than its kind."""
    text = why.strerror if isinstance(why, OSError) and why.strerror else type(why).__name__
    return str(text)[:120]
