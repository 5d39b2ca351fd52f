"""The page of the command line's usage, from the commands themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import typer

from cli.main import app
from manual.markdown import code, fenced, table

HEAD = """# Commands

What `slimgpt COMMAND --help` prints, for every command. What the commands are for, with examples:
[the command line](../command-line.md).

"""


def page() -> str:
    """The page, in Markdown."""
    return HEAD + "\n".join(_section(path, command) for path, command in commands())


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its full name; those of a group after the group."""
    group: Any = typer.main.get_command(app)
    yield from _below("slimgpt", group)


def _below(path: str, group: Any) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        yield f"{path} {name}", command
        if hasattr(command, "commands"):
            yield from _below(f"{path} {name}", command)


def _section(path: str, command: Any) -> str:
    level = "##" if path.count(" ") == 1 else "###"
    anchor = path.removeprefix("slimgpt ").replace(" ", "-")
    said = inspect.cleandoc(command.help or "").replace("\f", "")
    context = command.make_context(path, [], resilient_parsing=True)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    records = filter(None, (parameter.get_help_record(context) for parameter in command.params))
    rows = [(code(names), text) for names, text in records]
    text = f"{level} {path} {{ #{anchor} }}\n\n{said}\n\n{fenced(usage, 'text')}\n"
    return text + table(("argument or option", "meaning"), rows)
