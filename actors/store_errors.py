"""What can be wrong with a node's file, and what to do about it."""


class StoreError(Exception):
    """The file cannot be used as it is; nothing in it was changed."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason, self.remedy = reason, remedy


class StoreMissing(StoreError):
    """There is no file, or one is in the way of a new one."""


class StoreExposed(StoreError):
    """Others than the owner may read or write the file."""


class StoreLocked(StoreError):
    """Another process has the file open."""


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


class StoreBroken(StoreError):
    """The disk or the database failed; what became of the last commit is unknown."""
