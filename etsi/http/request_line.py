"""What the log says of each request, and how it is said."""

from collections.abc import Callable

import msgspec
from structlog.typing import FilteringBoundLogger

EVENT = "request"


class RequestLine(msgspec.Struct, gc=False):
    """One request and what came of it; in the log, its fields follow those of the logger."""

    method: str
    route: str
    status: int
    sae: str
    peer: str
    keys: int
    ms: float
    trace: str
    code: str

    @property
    def plain(self) -> bool:
        """Whether all is text and numbers, as declared: octets would not be (P6)."""
        return (
            type(self.method)
            is type(self.route)
            is type(self.sae)
            is type(self.peer)
            is type(self.trace)
            is type(self.code)
            is str
            and type(self.status) is type(self.keys) is int
            and type(self.ms) is float
        )


def say_with(log: FilteringBoundLogger) -> Callable[[RequestLine], None]:
    """Return what logs requests: `log.request` if it has that, as in a process of a node."""
    own: Callable[[RequestLine], None] | None = getattr(log, "request", None)
    return own or (lambda line: log.info(EVENT, **msgspec.structs.asdict(line)))
