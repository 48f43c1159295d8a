"""A front end of ours with one constant answer: what limits and pipeline cost, and nothing else.

Run as `python -m protokms.bench.front CERTIFICATE KEY CA PORT`.
"""

import signal
import sys
from pathlib import Path

import structlog
import uvloop

from etsi.http import tls
from etsi.http.call import Call
from etsi.http.identity import by_certificate
from etsi.http.options import HttpOptions
from etsi.http.pipeline import RequestPipeline
from etsi.http.reply import Reply
from etsi.http.server import Serving
from etsi.http.servers.thin_server import ThinServer
from protokms.bench.yardstick import BODY
from protokms.node.logs import configure
from protokms.node.meter import MemoryMeter
from transport.endpoint import Endpoint
from transport.stage import Stage

CONNECTIONS_MAX = 1_024
"""Of one SAE too: the bench has one certificate for all its clients."""


async def _constant(_: Call) -> Reply:
    return Reply(200, BODY)


def serve(certificate: Path, key: Path, ca: Path, port: int) -> None:
    """Serve until the process is told to end."""
    options = HttpOptions(
        bind=Endpoint("127.0.0.1", port),
        certificate=certificate,
        key=key,
        client_ca=ca,
        max_connections=CONNECTIONS_MAX,
        max_connections_per_sae=CONNECTIONS_MAX,
        max_in_flight=CONNECTIONS_MAX,
        max_in_flight_per_sae=CONNECTIONS_MAX,
    )
    log, meter = structlog.get_logger(), MemoryMeter()
    stage = Stage("front", sys.exit, uvloop.new_event_loop)
    server = ThinServer(
        Serving(
            options=options,
            pipeline=RequestPipeline(_constant, options, log, meter, "bench"),
            identify=by_certificate(options.sae_id_from),
            loop=stage.loop,
            log=log,
            meter=meter,
            died=sys.exit,
        )
    )
    server.start(tls.server_context(options))
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    server.stop()
    stage.stop()


if __name__ == "__main__":
    configure("json")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    serve(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
