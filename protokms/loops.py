"""Event loops for threads of a node: what goes wrong in one is a line in the log, not twenty."""

import asyncio
from typing import Any

import structlog

LOG_EVERY_S = 60.0


def make(name: str) -> asyncio.AbstractEventLoop:
    """Make a loop that logs each kind of trouble once a minute; asyncio writes whole tracebacks.

    The usual trouble is that files run out while somebody connects, which is said for each try.
    """
    loop = asyncio.new_event_loop()
    noted: dict[str, float] = {}

    def unhandled(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        why = context.get("exception")
        text = getattr(why, "strerror", None) or type(why).__name__
        if loop.time() - noted.get(text, -LOG_EVERY_S) >= LOG_EVERY_S:
            noted[text] = loop.time()
            what = str(context.get("message"))[:200]
            structlog.get_logger().error("loop_trouble", loop=name, why=text, what=what)

    loop.set_exception_handler(unhandled)
    return loop
