"""Whether a resource is still as the client thinks: If-Match and its kin (RFC 9110, 13).

An ETag is the revision at which the configuration of a resource was last written, in quotes.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from typing import Final

from etsi.gs015.restconf.problems import Wrong, malformed

_TAGS: Final = re.compile(r'\s*(?:W/)?"[\x21\x23-\x7e]*"\s*(?:,\s*(?:W/)?"[\x21\x23-\x7e]*"\s*)*')
_TAG: Final = re.compile(r'(?:W/)?"[^"]*"')


@dataclass(frozen=True, slots=True)
class Validators:
    """The revision of a resource, and when it was written, in seconds since 1970."""

    revision: int
    changed: float

    @property
    def etag(self) -> str:
        """The ETag."""
        return f'"{self.revision}"'

    @property
    def modified(self) -> str:
        """Last-Modified: whole seconds, rounded down."""
        return formatdate(int(self.changed), usegmt=True)

    @property
    def fields(self) -> tuple[tuple[str, str], ...]:
        """The header fields that tell both; nothing that was never written has a time."""
        modified = (("Last-Modified", self.modified),) if self.changed > 0 else ()
        return (("ETag", self.etag), *modified)


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a request says of the resource: the four header fields, empty where it says nothing."""

    match: str = ""
    none_match: str = ""
    modified_since: str = ""
    unmodified_since: str = ""

    @property
    def has_revision(self) -> bool:
        """Whether a write depends on what is there."""
        return bool(self.match or self.none_match or self.unmodified_since)

    def check_write(self, found: Validators | None) -> None:
        """Refuse a write of a resource that is not as it should be, None: not there; or `Wrong`."""
        if self.match:
            if not _named(self.match, found, weak=False):
                raise _failed("If-Match does not name the resource as it is", found)
        elif self.unmodified_since:
            since = _date(self.unmodified_since)
            if since is not None and (found is None or int(found.changed) > since):
                raise _failed("the resource was written since If-Unmodified-Since", found)
        if self.none_match and _named(self.none_match, found, weak=True):
            raise _failed("If-None-Match names the resource as it is", found)

    def unchanged(self, found: Validators) -> bool:
        """Tell whether a reader has the resource as it is (304)."""
        if self.none_match:
            return _named(self.none_match, found, weak=True)
        since = _date(self.modified_since) if self.modified_since else None
        return since is not None and int(found.changed) <= since


def conditions(header: Callable[[str], str]) -> Conditions:
    """Read them from the head of a request."""
    return Conditions(
        header("If-Match"),
        header("If-None-Match"),
        header("If-Modified-Since"),
        header("If-Unmodified-Since"),
    )


def _named(text: str, found: Validators | None, *, weak: bool) -> bool:
    if text.strip() == "*":
        return found is not None
    if not _TAGS.fullmatch(text):
        raise malformed("a list of entity tags is not as RFC 9110 has it")
    tags = _TAG.findall(text)
    if weak:
        tags = [tag.removeprefix("W/") for tag in tags]
    return found is not None and found.etag in tags


def _date(text: str) -> float | None:
    """Return seconds since 1970; None for what is no date, which is as if it were not there."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _failed(text: str, found: Validators | None) -> Wrong:
    now = f"it has the ETag {found.etag}" if found else "it is not there"
    return Wrong(412, "operation-failed", f"{text}: {now}", kind="protocol")
