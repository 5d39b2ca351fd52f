"""`CommandGroup`: a group of commands whose help cuts no text, and whose errors are one line."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from cli.terminal.exit_status import FAILED, USAGE, error_line, usage_message

Sections = Mapping[str, tuple[str, Mapping[str, str]]]
"""By title: an example, and the commands with the first line of their help."""


class SectionedCommand(TyperCommand):
    """A command whose options are listed in the sections that they are declared in."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and options for `--help`."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is None:
                continue
            place = getattr(parameter, "rich_help_panel", None) or "Options"
            title = "Arguments" if parameter.param_type_name == "argument" else place
            sections.setdefault(title, []).append(record)
        options = sections.pop("Options", [])
        for title, records in (*sections.items(), ("Options", options)):
            with formatter.section(title):
                formatter.write_dl(records)


class CommandGroup(TyperGroup):
    """Commands in sections; a group without sections has one."""

    def sections(self, ctx: Any) -> Sections:
        """What the help lists."""
        shown = {
            name: _first_line(command)
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) and not command.hidden
        }
        return {"Commands": ("", shown)}

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands for `--help`."""
        sections = self.sections(ctx)
        width = max(len(name) for _, commands in sections.values() for name in commands)
        for title, (example, commands) in sections.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), text) for name, text in commands.items()])
                if example:
                    formatter.write(f"\n{'':>{formatter.current_indent}}Example: {example}\n")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The help, and status 2, where a command is missing."""
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            typer.echo(ctx.get_help(), err=True)
            raise typer.Exit(USAGE)
        return super().parse_args(ctx, args)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command, and end the process with its status."""
        run = partial(super().main, args, prog_name, complete_var, False, windows_expand_args)
        if not standalone_mode:
            return run(**extra)
        try:
            status = run(**extra)
        except typer.TyperException as error:
            error_line(usage_message(error))
            sys.exit(error.exit_code)
        except typer.Abort:
            error_line("aborted")
            sys.exit(FAILED)
        sys.exit(status if isinstance(status, int) else 0)


def _first_line(command: Any) -> str:
    return str(command.help or "").strip().partition("\n")[0]
