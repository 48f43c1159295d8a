"""Secrets in files: made once, with mode 0600, never overwritten; read only if nobody else can."""

import base64
import binascii
import os
import stat
from pathlib import Path

from transport.explained import Explained

KEY_OCTETS = 32
_FILE_LIMIT = 1 << 16
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class BadFile(Explained):
    """A file is not what it must be: which, why, and what to do."""

    def __init__(self, file: Path, reason: str, remedy: str) -> None:
        super().__init__(f"{file}: {reason}. Remedy: {remedy}.")
        self.file, self.reason, self.remedy = file, reason, remedy


def write_secret(path: Path, octets: bytes) -> None:
    """Make a file of mode 0600; `FileExistsError` rather than overwrite one."""
    _write(path, octets, 0o600)


def write_public(path: Path, octets: bytes) -> None:
    """Make a file of mode 0644; `FileExistsError` rather than overwrite one."""
    _write(path, octets, 0o644)


def read_file(path: Path, limit: int = _FILE_LIMIT) -> bytes:
    """Read a file of at most `limit` octets, or raise `BadFile`."""
    try:
        with path.open("rb") as file:
            octets = file.read(limit + 1)
    except FileNotFoundError as why:
        raise BadFile(path, "does not exist", "make it, or correct the path") from why
    except (OSError, ValueError) as why:
        reason = getattr(why, "strerror", None) or str(why)
        raise BadFile(path, f"cannot be read: {reason}", "make it a readable file") from why
    if len(octets) > limit:
        raise BadFile(path, f"is larger than {limit} octets", "give the path of the right file")
    return octets


def read_secret(path: Path, *, ours: bool = True) -> bytes:
    """Read a secret file that nobody but its owner may open, or raise `BadFile`.

    `ours=False` is for files whose access the service manager guards (credentials).
    """
    octets = read_file(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if ours and mode & _OTHERS:
        raise BadFile(path, f"has mode {mode:04o}: others can open it", f"chmod 600 {path}")
    return octets


def key_octets(text: bytes, file: Path, octets: int = KEY_OCTETS) -> bytes:
    """Decode the base64 of a key of so many octets, or raise `BadFile` (without the text)."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != octets:
        raise BadFile(file, f"is not the base64 of {octets} octets", "make it anew")
    return key


def read_key(path: Path) -> bytes:
    """Read a secret file that holds the base64 of 32 octets."""
    return key_octets(read_secret(path), path)


def _write(path: Path, octets: bytes, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, mode)
        file.write(octets)
        file.flush()
        os.fsync(handle)
