"""Connections that are refused before a request: all are counted, each device is told of."""

from collections import Counter
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from actors.base import Meter

AGAIN_S = 60.0
"""A device that is refused for the same reason is logged once in so many seconds."""

DEVICES = 256
"""Lines of the log in that time; the rest is counted in one more line."""

NAMES_OF_ONE = 16
"""Of these, for one address: whoever makes up names does not silence the others."""

_Device = tuple[str, str, str, str]


class Refusals:
    """Counts and logs refusals, within bounds; for one thread. `now` is the time in seconds.

    `told(text)` hears of each device that is logged.
    """

    def __init__(
        self,
        log: FilteringBoundLogger,
        meter: Meter,
        now: Callable[[], float],
        told: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._log, self._meter, self._now, self._tell = log, meter, now, told
        self._told: dict[_Device, float] = {}
        self._lines_of: Counter[str] = Counter()
        self._untold, self._untold_since = 0, 0.0

    def note(self, during: str, why: str, address: str, name: str = "", issuer: str = "") -> None:
        """Note a refusal; `name` and `issuer` are what the certificate says, proved or not."""
        self._meter.add("protokms_http_refused", reason=during)
        now = self._now()
        self._forget(now)
        device = (during, why, address, name)
        if device in self._told:
            return
        if len(self._told) >= DEVICES or self._lines_of[address] >= NAMES_OF_ONE:
            self._untold_since = self._untold_since if self._untold else now
            self._untold += 1
            return
        self._told[device] = now
        self._lines_of[address] += 1
        known = {"name": name, "issuer": issuer} if name or issuer else {}
        self._log.warning("connection_refused", during=during, why=why, address=address, **known)
        self._tell(f"{during} of {address}{f' ({name})' if name else ''}: {why}")

    def _forget(self, now: float) -> None:
        for device, when in list(self._told.items()):
            if now - when < AGAIN_S:
                break
            del self._told[device]
            address = device[2]
            self._lines_of[address] -= 1
            if not self._lines_of[address]:
                del self._lines_of[address]
        if self._untold and now - self._untold_since >= AGAIN_S:
            self._log.warning("connections_refused", more=self._untold)
            self._untold = 0
