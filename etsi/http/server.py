"""What a front end asks of an HTTP server; those there are stand in `etsi.http.servers`."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from actors.base import Meter
from etsi.http.call import Caller, Identify
from etsi.http.options import HttpOptions
from etsi.http.pipeline import RequestPipeline


@dataclass(frozen=True, slots=True)
class Serving:
    """What a server is made with: where it listens, who takes its requests, who hears of it.

    Its sockets are served on `loop`, which others use as well. `died(why)` is called on the loop
    when the server ends by itself, and `refused(text)` of a device that is logged as refused.
    `number` is which of several servers of one address this is, 0 for the only one.
    """

    options: HttpOptions
    pipeline: RequestPipeline
    identify: Identify
    loop: asyncio.AbstractEventLoop
    log: FilteringBoundLogger
    meter: Meter
    died: Callable[[str], None]
    refused: Callable[[str], None] = lambda _: None
    number: int = 0


class Server(Protocol):
    """One listening socket, TLS, and HTTP on the connections that come.

    A client that is slow, or costs more than the limits say, is refused or cut; whoever is within
    them does not notice. `start` and `stop` wait, on any thread but that of the loop; nothing else
    does.
    """

    def start(self, context: ssl.SSLContext | None) -> tuple[str, int]:
        """Listen, and serve what comes; without a context, without TLS. Return host and port.

        `CannotBind` (an `OSError`) if that address cannot be had.
        """
        ...

    def stop(self) -> None:
        """Close everything and wait, for a while, until that is done; harmless twice."""
        ...

    def stop_listening(self) -> None:
        """Take no more connections; those that are open stay."""
        ...

    def renew(
        self,
        context: ssl.SSLContext | None,
        unwelcome: Callable[[Caller], bool],
        options: HttpOptions,
    ) -> None:
        """Use this context and the limits of these options from now on.

        Close the connections of unwelcome callers: one with a request in flight after its answer,
        unless that is a stream. A limit that is lower closes none.
        """
        ...

    @property
    def connections(self) -> int:
        """How many connections are open."""
        ...


MakeServer = Callable[[Serving], Server]
"""Makes a server with the limits in `etsi.http.limits`, or with those that a test gave it."""
