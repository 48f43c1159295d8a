"""Which representation a client can read, and which one it sends (RFC 9110, 8.3 and 12.5.1)."""

import re
from typing import Final

from etsi.gs015.restconf.problems import MEDIA, Wrong
from etsi.http.reply import quoted

EVENTS: Final = "text/event-stream"

_QUALITY: Final = re.compile(r"(0(\.[0-9]{0,3})?|1(\.0{0,3})?)", re.ASCII)


def accepts(header: str, media: str) -> bool:
    """Tell whether an Accept field, empty if there is none, allows this type."""
    if not header.strip():
        return True
    kind, _, _ = media.partition("/")
    best: tuple[int, float] = (0, 0.0)
    for row in header.split(","):
        name, *parameters = (part.strip().lower() for part in row.split(";"))
        fits = {"*/*": 1, f"{kind}/*": 2, media: 3}.get(name, 0)
        if fits and fits >= best[0]:
            best = fits, _quality(parameters)
    return best[1] > 0


def need_accept(header: str, media: str = MEDIA) -> None:
    """Refuse a client that cannot read what there is (406); or `Wrong`."""
    if not accepts(header, media):
        raise Wrong(406, "invalid-value", f"this is told as {media} alone", kind="protocol")


def need_type(header: str, *allowed: str) -> None:
    """Refuse a body of another type (415); or `Wrong`."""
    name, *parameters = (part.strip().lower() for part in header.split(";"))
    charset = next((p[8:].strip('"') for p in parameters if p.startswith("charset=")), "utf-8")
    if name not in allowed or charset != "utf-8":
        text = f"write Content-Type {allowed[0]}, not {quoted(header)}"
        raise Wrong(415, "invalid-value", text, kind="protocol")


def _quality(parameters: list[str]) -> float:
    text = next((p[2:] for p in parameters if p.startswith("q=")), "1")
    return float(text) if _QUALITY.fullmatch(text) else 0.0
