"""What commands print: texts as they are, without markup and control characters.

Names come from certificates and from other nodes: a terminal must not obey them.
"""

from typing import TYPE_CHECKING

import typer

from protokms.manage.printable import printable

if TYPE_CHECKING:
    from rich.text import Text


def say(text: str, *, err: bool = False) -> None:
    """Print one line."""
    typer.echo(printable(text), err=err)


def say_lines(text: str, *, err: bool = False) -> None:
    """Print a text of ours that may have several lines."""
    for line in text.split("\n"):
        say(line, err=err)


def cell(value: object) -> "Text":
    """Return what stands in a table, for rich."""
    from rich.text import Text  # noqa: PLC0415 -- typer loads it when it is needed

    return Text(printable(str(value)))
