"""An HTTP server whose connections are read and written by aiohttp."""

from etsi.http.limits import LIMITS, Limits
from etsi.http.server import Serving
from etsi.http.servers.aiohttp_connection import Connections
from etsi.http.servers.socket_server import SocketServer


class AiohttpServer(SocketServer):
    """A `Server` that can do whatever aiohttp can."""

    def __init__(self, serving: Serving, limits: Limits = LIMITS) -> None:
        super().__init__(serving, limits, Connections)
