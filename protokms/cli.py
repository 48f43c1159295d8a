"""The command `protokms`: a running node takes a short way in, everything else goes to typer."""

import sys

from protokms.release import version

_HELP = frozenset({"--help", "-h"})


def main() -> None:
    """Run what the command line says; exit 0 when well, 1 when it failed, 2 when misused."""
    args = sys.argv[1:]
    if args == ["--version"]:
        print(version())  # noqa: T201 -- without the second that typer and rich take
        return
    if args[:1] == ["node"] and not _HELP & set(args):
        # structlog would load rich, for tracebacks that show local variables: keys, perhaps.
        sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
        from protokms.cli_node import run  # noqa: PLC0415 -- and a node loads no typer either

        sys.exit(run(args[1:]))
    from protokms.commands import app  # noqa: PLC0415 -- neither here for the reasons above

    app(prog_name="protokms")
