"""What `--help` and a mistyped command print, the same with all releases of Typer and Click that Flower takes."""

from __future__ import annotations

from typing import Any, get_type_hints

import click
from typer.core import TyperArgument, TyperCommand, TyperGroup
from typer.models import ArgumentInfo

from flwr_byzantine.declare.names import unknown_name


class Described(TyperCommand):
    """A command whose positional arguments are described: those of Click 8.5 forget the help that Typer 0.20 gave them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        hints = get_type_hints(self.callback, include_extras=True)
        for param in self.params:
            if isinstance(param, TyperArgument) and param.name in hints:
                param.help = next(info.help for info in hints[param.name].__metadata__ if isinstance(info, ArgumentInfo))

    def format_arguments(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Nothing: Typer lists them with the options, Click 8.5 here."""

    def get_help(self, ctx: click.Context) -> str:
        """The text without the backslashes that are for Rich."""
        return super().get_help(ctx).replace("\\[", "[")


class Commands(TyperGroup):
    """A group of commands that says which one was probably meant."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first argument names."""
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            ctx.fail(str(unknown_name("command", args[0], self.commands)))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each command with all that it says of itself."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help or "") for name, command in self.commands.items()])
