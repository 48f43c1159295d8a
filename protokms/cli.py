"""The command `protokms`: a running node takes a short way in, everything else goes to typer."""

import sys
from importlib.metadata import version as version_of

_HELP = frozenset({"--help", "-h"})


def main() -> None:
    """Run what the command line says; exit 0 when well, 1 when it failed, 2 when misused."""
    args = sys.argv[1:]
    if args == ["--version"]:
        print(version())  # noqa: T201 -- without the second that typer and rich take
        return
    if args[:1] == ["node"] and not _HELP & set(args):
        from protokms.cli_node import run  # noqa: PLC0415 -- a node loads no typer, no rich

        sys.exit(run(args[1:]))
    from protokms.commands import app  # noqa: PLC0415 -- neither here for the reasons above

    app(prog_name="protokms")


def version() -> str:
    """Return the version of the installed distribution."""
    return version_of("protokms")
