"""The command `protokms`: a running node takes a short way in, everything else goes to typer."""

import sys

from protokms.release import version
from protokms.spare import spare_authorities, spare_tls

_HELP = frozenset({"--help", "-h"})
_OF_NODE = frozenset({"reload", "status"})
"""What a running node is asked; each has a help of its own."""


def main() -> None:
    """Run what the command line says; exit 0 when well, 1 when it failed, 2 when misused."""
    args = sys.argv[1:]
    if args == ["--version"]:
        print(version())  # noqa: T201 -- without the second that typer and rich take
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
