"""Groups of commands whose modules are loaded when somebody asks for one of their commands."""

from functools import cached_property
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup


def later(module: str, name: str, text: str) -> typer.Typer:
    """Return a group with the commands of the `typer.Typer` called `name` in a module.

    `text` is its help: it is known without the module, which may load a whole lab.
    """

    class Later(TyperGroup):
        """Asks the real group what it has."""

        @cached_property
        def _real(self) -> TyperGroup:
            group = typer.main.get_group(getattr(import_module(module), name))
            group.name = self.name
            return group

        def list_commands(self, ctx: Any) -> list[str]:
            """Return the names of the commands, in the order in which they are written."""
            return self._real.list_commands(ctx)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            """Return a command, or None."""
            return self._real.get_command(ctx, cmd_name)

    return typer.Typer(cls=Later, no_args_is_help=True, help=text)
