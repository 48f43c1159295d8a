"""What can be wrong with a node's file, and what to do about it."""

from typing import ClassVar

from transport.explained import Explained


class StoreError(Explained):
    """The file cannot be used as it is; nothing in it was changed.

    `passes` says whether it may be in order later without anybody having touched the file.
    """

    passes: ClassVar[bool] = False

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason, self.remedy = reason, remedy


class StoreMissing(StoreError):
    """There is no file, or one is in the way of a new one."""

    passes = True


class StoreExposed(StoreError):
    """Others than the owner may read or write the file."""


class StoreLocked(StoreError):
    """Another process has the file open."""

    passes = True


class StoreNewer(StoreError):
    """A later version of the program wrote the file."""


class StoreForeign(StoreError):
    """The file belongs to another node."""


class WrongKey(StoreError):
    """The file was sealed under another node key."""


class StoreCorrupt(StoreError):
    """The file is damaged, was tampered with, or is something else altogether."""


class StoreFull(StoreError):
    """The disk is full; the changes at hand were not made and can be tried again."""

    passes = True


class StoreBroken(StoreError):
    """The disk or the database failed; what became of the last commit is unknown."""

    passes = True
