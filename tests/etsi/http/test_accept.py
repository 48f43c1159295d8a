"""Connections that were accepted are closed, whenever the acceptor ends; over both loops."""

import asyncio
import gc
import socket
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
import uvloop

from etsi.http.call import Call
from etsi.http.identity import by_certificate
from etsi.http.limits import LIMITS
from etsi.http.options import HttpOptions
from etsi.http.pipeline import RequestPipeline
from etsi.http.reply import Reply
from etsi.http.server import Serving
from etsi.http.servers.accept import Acceptor
from protokms.node.meter import MemoryMeter
from transport.endpoint import Endpoint

pytestmark = pytest.mark.slow

LOOPS = [
    pytest.param(asyncio.new_event_loop, id="asyncio"),
    pytest.param(uvloop.new_event_loop, id="uvloop"),
]


async def nothing(_: Call) -> Reply:
    return Reply(200, b"{}")


def acceptor(loop: asyncio.AbstractEventLoop) -> Acceptor:
    bind, none = Endpoint("127.0.0.1", 0), Path("none")  # no TLS: the files are not read
    options = HttpOptions(bind=bind, certificate=none, key=none, client_ca=none, max_handshakes=1)
    log, meter = structlog.get_logger(), MemoryMeter()
    serving = Serving(
        options=options,
        pipeline=RequestPipeline(nothing, options, log, meter, "life"),
        identify=by_certificate("cn"),
        loop=loop,
        log=log,
        meter=meter,
        died=lambda _: None,
    )
    return Acceptor(serving, LIMITS, None, asyncio.Protocol, lambda _: None)


async def end_after(turns: int) -> None:
    """Let two clients knock, and end so many turns of the loop later."""
    made = acceptor(asyncio.get_running_loop())
    await asyncio.sleep(0)
    with socket.create_connection(made.address) as one, socket.create_connection(made.address):
        for _ in range(turns):
            await asyncio.sleep(0)
        await made.close()
        await asyncio.sleep(0)
        one.close()


@pytest.mark.parametrize("turns", range(6))
@pytest.mark.parametrize("loop", LOOPS)
def test_no_connection_is_left_open(
    loop: Callable[[], asyncio.AbstractEventLoop], turns: int
) -> None:
    gc.collect()  # not of tests before
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(end_after(turns))
        gc.collect()

    assert [str(one.message) for one in caught] == []
