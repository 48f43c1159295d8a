"""Types of leaves: how RFC 7951 writes their values, and the one form in which each is kept.

A UUID is kept in lower case, a time with Z, a decimal number without needless digits, an identity
without its module, an SAE as a URN: what is one value to YANG is one value here.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import unquote

from etsi.http.identity import SAE_URN, sae_urn
from etsi.http.options import id_fault

Value = str | int | bool
"""What a leaf holds: decimal numbers and times are texts."""

TEXT_MAX = 1_024
"""Characters of a text, at most; YANG has no limit."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DECIMAL = re.compile(r"([+-]?)0*([0-9]{1,19})(?:\.([0-9]{1,18}))?", re.ASCII)
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
    r"(?:Z|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""What is no character of a YANG string (RFC 7950, 9.4)."""


class BadValue(ValueError):
    """The value is not of this type; the text says what is wanted."""


class LeafType(Protocol):
    """Reads and writes the values of a leaf; `BadValue` if one is not of its type."""

    def read(self, given: object) -> Value:
        """Return the value that JSON gives."""
        ...

    def write(self, value: Value) -> object:
        """Return the value for JSON."""
        ...

    def parse(self, text: str) -> Value:
        """Return the value that a path names."""
        ...


class _Written:
    """A type whose values are strings in JSON."""

    def read(self, given: object) -> Value:
        """Return the value that JSON gives."""
        if type(given) is not str:
            raise BadValue("write a JSON string")
        return self.parse(given)

    def write(self, value: Value) -> object:
        """Return the value for JSON."""
        return value

    def parse(self, text: str) -> Value:
        """Return the value that a path names."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Text(_Written):
    """A string of at most `TEXT_MAX` characters, or one of a form."""

    form: str = ""
    wanted: str = ""

    def parse(self, text: str) -> Value:
        """Return the text."""
        if len(text) > TEXT_MAX:
            raise BadValue(f"write at most {TEXT_MAX} characters")
        if _UNFIT.search(text):
            raise BadValue("write no control characters")
        if self.form and not re.fullmatch(self.form, text, re.ASCII):
            raise BadValue(self.wanted)
        return text


@dataclass(frozen=True, slots=True)
class Uuid(_Written):
    """A UUID, in lower case."""

    def parse(self, text: str) -> Value:
        """Return it in lower case."""
        lower = text.lower() if text.isascii() else ""
        if not _UUID.fullmatch(lower):
            raise BadValue("write a UUID")
        return lower


@dataclass(frozen=True, slots=True)
class Sae(_Written):
    """An SAE: a URN of this project, which is what is shown, or the bare id.

    RFC 9911 refuses bare ids where a URI is asked for; clients in the field write them.
    """

    def parse(self, text: str) -> Value:
        """Return the URN."""
        sae = text
        if text[: len(SAE_URN)].lower() == SAE_URN:
            try:
                sae = unquote(text[len(SAE_URN) :], errors="strict")
            except UnicodeDecodeError:
                raise BadValue("write an SAE id in UTF-8, percent-encoded") from None
        if fault := id_fault(sae):
            raise BadValue(f"the SAE id {fault}")
        return sae_urn(sae)


def sae_of(urn: str) -> str:
    """Return the SAE id of a URN that `Sae` has made."""
    return unquote(urn[len(SAE_URN) :])


@dataclass(frozen=True, slots=True)
class DateTime(_Written):
    """A time with its zone, kept in UTC."""

    def parse(self, text: str) -> Value:
        """Return it in UTC, with Z."""
        try:
            if not _TIME.fullmatch(text):
                raise ValueError(text)
            return written_time(datetime.fromisoformat(text))
        except (ValueError, OverflowError):
            raise BadValue("write a time like '2027-01-31T12:00:00Z'") from None


def written_time(time: datetime) -> str:
    """Write a time as RFC 7950 does, in UTC."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


@dataclass(frozen=True, slots=True)
class Number:
    """An integer; of 64 bits it is a string in JSON (RFC 7951, 6.1)."""

    least: int = 0
    most: int = (1 << 32) - 1
    wide: bool = False

    def read(self, given: object) -> Value:
        """Return the value that JSON gives."""
        if self.wide:
            if type(given) is not str:
                raise BadValue("write a JSON string with an integer of 64 bits")
            return self.parse(given)
        if type(given) is not int:
            raise BadValue("write a JSON number without a fraction")
        return self._checked(given)

    def write(self, value: Value) -> object:
        """Return the value for JSON."""
        return str(value) if self.wide else value

    def parse(self, text: str) -> Value:
        """Return the value that a path names."""
        if not _INTEGER.fullmatch(text):
            raise BadValue("write an integer")
        return self._checked(int(text))

    def _checked(self, number: int) -> int:
        if not self.least <= number <= self.most:
            raise BadValue(f"write a number from {self.least} to {self.most}")
        return number


@dataclass(frozen=True, slots=True)
class Boolean:
    """True or false."""

    def read(self, given: object) -> Value:
        """Return the value that JSON gives."""
        if type(given) is not bool:
            raise BadValue("write true or false")
        return given

    def write(self, value: Value) -> object:
        """Return the value for JSON."""
        return value

    def parse(self, text: str) -> Value:
        """Return the value that a path names."""
        if text not in ("true", "false"):
            raise BadValue("write true or false")
        return text == "true"


@dataclass(frozen=True, slots=True)
class Decimal(_Written):
    """A decimal64 with this many fraction digits: a string in JSON (RFC 7951, 6.1)."""

    digits: int = 3

    def parse(self, text: str) -> Value:
        """Return it with no more digits than it needs, at least one after the point."""
        found = _DECIMAL.fullmatch(text)
        fraction = ((found[3] or "") if found else "").rstrip("0")
        if not found or len(fraction) > self.digits:
            raise BadValue(f"write a string with a number of at most {self.digits} decimals")
        scaled = int(found[2] + fraction.ljust(self.digits, "0"))
        negative = found[1] == "-" and scaled > 0
        if scaled > (1 << 63) - (0 if negative else 1):
            raise BadValue("write a number of at most 64 bits")
        return f"{'-' if negative else ''}{int(found[2])}.{fraction or '0'}"


@dataclass(frozen=True, slots=True)
class Identity(_Written):
    """An identity of a module: with its name in JSON (RFC 7951, 6.8), kept without it."""

    names: tuple[str, ...]
    module: str

    def parse(self, text: str) -> Value:
        """Return it without its module."""
        module, _, name = text.partition(":")
        if module != self.module or name not in self.names:
            raise BadValue(f"write one of {', '.join(map(self._full, self.names))}")
        return name

    def write(self, value: Value) -> object:
        """Return it with its module."""
        return self._full(str(value))

    def _full(self, name: str) -> str:
        return f"{self.module}:{name}"
