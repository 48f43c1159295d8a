"""An HTTP server whose connections are parsed by llhttp, and otherwise our own."""

from etsi.http.limits import LIMITS, Limits
from etsi.http.server import Serving
from etsi.http.servers.socket_server import SocketServer
from etsi.http.servers.thin_connection import Connections


class ThinServer(SocketServer):
    """A `Server` that costs little for a request of a few octets."""

    def __init__(self, serving: Serving, limits: Limits = LIMITS) -> None:
        super().__init__(serving, limits, speak)


def speak(serving: Serving, limits: Limits) -> Connections:
    """Make the connections of a server, which are not there yet."""
    return Connections(serving.loop, serving.pipeline, serving.identify, serving.options, limits)
