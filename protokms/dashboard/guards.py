"""Who may use the page: a browser that was told its address, and buttons of the page itself."""

import hmac
from collections.abc import Mapping

TOKEN_HEADER = "X-Dashboard-Token"  # noqa: S105 -- the name of a header


def refusal(headers: Mapping[str, str], port: int, *, writes: bool, token: str) -> str:
    """Return why a request is refused, or nothing.

    A foreign Host is a name that somebody bound to our address (DNS rebinding). A write needs
    the Origin of this page and its token, which no other site can read.
    """
    hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
    if headers.get("Host", "") not in hosts:
        return "wrong Host"
    if not writes:
        return ""
    if headers.get("Origin", "") not in {f"http://{host}" for host in hosts}:
        return "wrong Origin"
    if not hmac.compare_digest(headers.get(TOKEN_HEADER, "").encode(), token.encode()):
        return "wrong token"
    return ""
