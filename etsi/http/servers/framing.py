"""Where one request ends in what has come, so that no parser reads the next one with it."""

_END = b"\r\n\r\n"
_NOT_YET = len(_END) - 1


class Cuts:
    """Cuts what comes into pieces in which at most one request ends, at the end of the piece.

    A head ends with an empty line, and so does a body in chunks: a piece goes up to the next one.
    A body with a length goes up to that. Whether a request does end there, the parser says.
    """

    __slots__ = ("_left", "_line", "_longest", "_tail")

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._left, self._line, self._tail = 0, 0, b""

    def body_of(self, octets: int) -> None:
        """A body of so many octets comes next."""
        self._left = octets

    def next(self, octets: bytes, at: int) -> int:
        """Return where the piece ends that begins at `at`."""
        if self._left:
            end = min(len(octets), at + self._left)
            self._left -= end - at
            return end
        if self._tail:
            found = (self._tail + octets[at : at + _NOT_YET]).find(_END)
            if found >= 0:
                end = at + found + len(_END) - len(self._tail)
                self._tail, self._line = b"", 0
                return end
        found = octets.find(_END, at)
        if found >= 0:
            self._tail, self._line = b"", 0
            return found + len(_END)
        self._tail = (self._tail + octets[max(at, len(octets) - _NOT_YET) :])[-_NOT_YET:]
        return len(octets)

    def too_long(self, octets: bytes, at: int, end: int) -> bool:
        """Whether a line that has not ended with this piece of a head is longer than it may be."""
        newline = octets.rfind(b"\n", at, end)
        self._line = end - newline - 1 if newline >= 0 else self._line + end - at
        return self._line > self._longest
