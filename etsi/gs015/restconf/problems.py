"""What is refused, in the words of RESTCONF: `ietf-restconf:errors` (RFC 8040, 7.1)."""

import json
from typing import Final, NamedTuple

from etsi.http.reply import Problem, Reply

MEDIA: Final = "application/yang-data+json"
"""The type of every body but a stream of events (RFC 8040, 11.3.2)."""

NO_PATH: Final = "no-path"
"""The error-app-tag of hops of which no order is a path now, or more than one: that may change."""


class _As(NamedTuple):
    kind: str
    tag: str


_OURS: Final = {
    "not_authenticated": _As("transport", "access-denied"),
    "draining": _As("transport", "resource-denied"),
    "too_many_connections": _As("transport", "resource-denied"),
    "busy": _As("transport", "resource-denied"),
    "too_large": _As("transport", "too-big"),
    "encoding": _As("transport", "invalid-value"),
    "slow": _As("transport", "operation-failed"),
    "bad_http": _As("transport", "malformed-message"),
    "broken_body": _As("transport", "malformed-message"),
    "malformed": _As("protocol", "malformed-message"),
    "internal": _As("application", "operation-failed"),
}
"""Type and tag of what any front end refuses, by its code."""


class Wrong(Problem):
    """A request is refused; `code` is the error-tag, `path` the error-path of what is wrong.

    `app_tag` tells one reason apart from others with the same error-tag.
    """

    def __init__(
        self,
        status: int,
        tag: str,
        text: str,
        path: str = "",
        *,
        kind: str = "application",
        retry_after: int = 0,
        allow: str = "",
        app_tag: str = "",
    ) -> None:
        super().__init__(status, tag, text, retry_after=retry_after, allow=allow)
        self.kind, self.path, self.app_tag = kind, path, app_tag


def reply_to(problem: Problem) -> Reply:
    """Return the answer to a request that is refused."""
    if isinstance(problem, Wrong):
        made, path = _As(problem.kind, problem.code), problem.path
    else:
        made, path = _OURS.get(problem.code, _OURS["internal"]), ""
    error = {"error-type": made.kind, "error-tag": made.tag}
    if path:
        error["error-path"] = path
    if isinstance(problem, Wrong) and problem.app_tag:
        error["error-app-tag"] = problem.app_tag
    error["error-message"] = str(problem)
    body = {"ietf-restconf:errors": {"error": [error]}}
    # ASCII on purpose: texts repeat what a caller sent, which may hold lone surrogates.
    octets = json.dumps(body, ensure_ascii=True, separators=(",", ":")).encode()
    return Reply(
        problem.status, octets, problem.code, problem.retry_after, problem.allow, media=MEDIA
    )


def malformed(text: str) -> Wrong:
    """Return the problem of a message that cannot be read at all."""
    return Wrong(400, "malformed-message", text, kind="protocol")


def invalid(text: str, path: str = "") -> Wrong:
    """Return the problem of a value that may not be so."""
    return Wrong(400, "invalid-value", text, path)


def unknown_element(text: str, path: str) -> Wrong:
    """Return the problem of a member that the tree does not have there."""
    return Wrong(400, "unknown-element", text, path)


def missing_element(text: str, path: str) -> Wrong:
    """Return the problem of a member that has to be there."""
    return Wrong(400, "missing-element", text, path)


def not_found(text: str, path: str = "") -> Wrong:
    """Return the problem of a resource that is not there."""
    return Wrong(404, "invalid-value", text, path, kind="protocol")


def exists(text: str, path: str) -> Wrong:
    """Return the problem of a resource that is to be made, and is there."""
    return Wrong(409, "data-exists", text, path)


def not_allowed(method: str, allow: str) -> Wrong:
    """Return the problem of a method that this resource does not have."""
    text = f"{method} is not for this resource; allowed: {allow}"
    return Wrong(405, "operation-not-supported", text, kind="protocol", allow=allow)
