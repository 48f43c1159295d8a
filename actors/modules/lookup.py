"""Addresses of other hosts, found without anybody's turn waiting for a name server."""

import socket
import threading
import time
from typing import Any

from transport.endpoint import is_number

FRESH_S = 10.0
"""Seconds for which what was found may be used; a host that was replaced may have moved."""


class Lookup:
    """Finds UDP addresses of one family: numbers at once, names on a thread, one at a time."""

    def __init__(self, family: int) -> None:
        self._family = family
        self._busy = False
        self._found: tuple[float, Any] | None = None

    def find(self, host: str, port: int) -> Any:
        """Return the address; `OSError` if there is none, or none yet: then ask again."""
        if is_number(host):
            return self._ask(host, port)
        if self._found and time.monotonic() - self._found[0] < FRESH_S:
            (_, found), self._found = self._found, None
            if isinstance(found, OSError):
                raise found
            return found
        if not self._busy:
            self._busy = True
            threading.Thread(target=self._search, args=(host, port), daemon=True).start()
        raise BlockingIOError("its name is being looked up")

    def _search(self, host: str, port: int) -> None:
        try:
            found = self._ask(host, port)
        except (OSError, UnicodeError) as why:  # a name may be none in the domain name system
            found = OSError(str(why))
        self._found, self._busy = (time.monotonic(), found), False

    def _ask(self, host: str, port: int) -> Any:
        return socket.getaddrinfo(host, port, self._family, socket.SOCK_DGRAM)[0][4]
