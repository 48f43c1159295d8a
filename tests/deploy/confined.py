"""Runs `protokms` under the rules of a unit that the kernel can be told without systemd.

`confined.py UNIT TAKEN-OUT ARGS...` applies `RestrictAddressFamilies` (but for the family
TAKEN-OUT, `-` for none), `MemoryDenyWriteExecute` and `SystemCallFilter` with libseccomp, as
systemd does, and then becomes `protokms ARGS...`.
"""

import ctypes
import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.deploy import units

ALLOW, ERRNO = 0x7FFF0000, 0x00050000
EQUAL, GREATER, MASKED = 4, 6, 7  # of scmp_compare
PROT_WRITE, PROT_EXEC, SHM_EXEC = 0x2, 0x4, 0o100000
UNKNOWN = -1
FAMILIES = 64
"""More than Linux has; larger numbers are refused together."""


class Argument(ctypes.Structure):
    """`struct scmp_arg_cmp`: what one argument of a system call is compared with."""

    _fields_ = (
        ("index", ctypes.c_uint),
        ("compare", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


class Filter:
    """One seccomp filter: what becomes of calls that no rule is about, then rules, then `load`."""

    def __init__(self, default: int) -> None:
        self._lib = ctypes.CDLL("libseccomp.so.2", use_errno=True)
        self._lib.seccomp_init.restype = ctypes.c_void_p
        self._made = ctypes.c_void_p(self._lib.seccomp_init(ctypes.c_uint32(default)))

    def rule(self, action: int, call: str, *arguments: Argument) -> bool:
        """Add a rule; false if this machine has no such call."""
        number = self._lib.seccomp_syscall_resolve_name(call.encode())
        if number == UNKNOWN:
            return False
        array = (Argument * len(arguments))(*arguments)
        failed = self._lib.seccomp_rule_add_array(
            self._made, ctypes.c_uint32(action), number, len(arguments), array
        )
        return not failed

    def load(self) -> None:
        """Hand it to the kernel: from now on it holds, for children and programs too."""
        if failed := self._lib.seccomp_load(self._made):
            raise OSError(-failed, "seccomp_load")


def address_families(names: list[str]) -> None:
    """Let only sockets of these families be made."""
    allowed = {int(getattr(socket, name)) for name in names}
    made, no = Filter(ALLOW), ERRNO | errno.EAFNOSUPPORT
    for family in set(range(FAMILIES)) - allowed:
        assert made.rule(no, "socket", Argument(0, EQUAL, family, 0))
    assert made.rule(no, "socket", Argument(0, GREATER, FAMILIES - 1, 0))
    made.load()


def no_writable_code() -> None:
    """Let no memory be writable and executable, nor become executable."""
    made, no = Filter(ALLOW), ERRNO | errno.EPERM
    both = PROT_WRITE | PROT_EXEC
    assert made.rule(no, "mmap", Argument(2, MASKED, both, both))
    for call in ("mprotect", "pkey_mprotect"):
        assert made.rule(no, call, Argument(2, MASKED, PROT_EXEC, PROT_EXEC))
    assert made.rule(no, "shmat", Argument(2, MASKED, SHM_EXEC, SHM_EXEC))
    made.load()


def system_calls(wanted: list[str]) -> None:
    """Let only these calls through; `~` before a name takes those away again."""
    allowed = calls_of("@default")
    for word in wanted:
        if word.startswith("~"):
            allowed -= calls_of(word[1:])
        else:
            allowed |= calls_of(word)
    made = Filter(ERRNO | errno.EPERM)
    known = [call for call in sorted(allowed) if made.rule(ALLOW, call)]
    assert len(known) > len(allowed) // 2, "libseccomp does not know the calls"
    made.load()


def calls_of(name: str) -> set[str]:
    """Return the calls of a group of systemd's, or the call itself."""
    if not name.startswith("@"):
        return {name}
    command = ["systemd-analyze", "--no-pager", "syscall-filter", name]
    text = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    words = [line.strip() for line in text.splitlines()[1:]]
    return {call for word in words if word and word[0] != "#" for call in calls_of(word)}


def main(unit: Path, without: str, args: list[str]) -> None:
    """Confine this process and become `protokms`."""
    address_families([n for n in units.values(unit, "RestrictAddressFamilies") if n != without])
    if units.values(unit, "MemoryDenyWriteExecute") == ["yes"]:
        no_writable_code()
    system_calls(filter_words(unit))
    os.execv(sys.executable, [sys.executable, "-P", "-m", "protokms", *args])


def filter_words(unit: Path) -> list[str]:
    """Return the words of every `SystemCallFilter=`; a `~` is for all words of its line."""
    lines = [text for key, text in units.settings(unit, "Service") if key == "SystemCallFilter"]
    return [
        f"~{word}" if line.startswith("~") else word
        for line in lines
        for word in line.removeprefix("~").split()
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
