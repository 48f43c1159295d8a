"""The command `protokms`: a running node takes a short way in, everything else goes to typer."""

import errno
import os
import sys
from typing import NoReturn

from protokms.release import VERSION
from protokms.spare import spare_authorities, spare_tls

_HELP = frozenset({"--help", "-h"})
_OF_NODE = frozenset({"reload", "status"})
"""What a running node is asked; each has a help of its own."""
_UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG})


def main() -> None:
    """Run what the command line says; exit 0 when well, 1 when it failed, 2 when misused."""
    try:
        try:
            _run(sys.argv[1:])
        finally:
            if sys.stdout:
                sys.stdout.flush()
    except OSError as why:
        if why.filename is not None or why.errno not in _UNWRITABLE:
            raise
        _no_room(why)


def _no_room(why: OSError) -> NoReturn:
    """What a command says cannot be written: one line, and nothing more at the end of Python."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.stderr.write(f"what was asked for cannot be written: {why.strerror}\n")
    sys.exit(1)


def _run(args: list[str]) -> None:
    if args == ["--version"]:
        print(VERSION)  # noqa: T201 -- without the second that typer and rich take
        return
    if args[:1] == ["node"] and (_OF_NODE & set(args[1:2]) or not _HELP & set(args)):
        # structlog would load rich, for tracebacks that show local variables: keys, perhaps.
        sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
        spare_authorities()
        spare_tls(args[1:])
        from protokms.commands.node import run  # noqa: PLC0415 -- and a node loads no typer either

        sys.exit(run(args[1:]))
    from protokms.commands.main import app  # noqa: PLC0415 -- neither here for the reasons above

    app(prog_name="protokms")
