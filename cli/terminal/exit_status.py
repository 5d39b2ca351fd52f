"""Exit status of commands: 0, 1 expected failure, 2 usage, 130 Ctrl-C."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import typer

from slimgpt.errors import SlimGPTError, SpecError

if TYPE_CHECKING:
    from cli.terminal.event_output import EventOutput

FAILED = 1
USAGE = 2
INTERRUPTED = 130  # 128 + SIGINT, as in shells


@contextmanager
def report_failure(output: EventOutput) -> Iterator[None]:
    """Show an exception as a `failed` event, and exit with its status.

    Raises:
        typer.Exit: there was an exception.
    """
    from slimgpt.events import Failed  # pydantic, which client commands do without

    try:
        yield
    except typer.BadParameter as error:
        output.show(Failed(code=SpecError.code, message=usage_message(error)))
        raise typer.Exit(USAGE) from None
    except SlimGPTError as error:
        output.show(Failed(code=error.code, message=error.message, hint=error.hint))
        raise typer.Exit(1) from None
    except KeyboardInterrupt as error:
        hint = "; ".join(map(str, error.args))
        output.show(Failed(code="interrupted", message="interrupted", hint=hint))
        raise typer.Exit(INTERRUPTED) from None
    except (typer.Exit, typer.Abort, BrokenPipeError):  # nothing to show, or nobody reads it
        raise
    except Exception as error:  # programs always get a last line
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
        hint = "this is a defect: report it with the lines above"
        output.show(Failed(code="internal-error", message=message, hint=hint))
        raise typer.Exit(1) from None


@contextmanager
def expected() -> Iterator[None]:
    """Show a SlimGPTError as one line on stderr, and exit with status 1."""
    try:
        yield
    except SlimGPTError as error:
        fail(str(error))


def fail(message: str, status: int = FAILED) -> NoReturn:
    """End the command: one line on stderr, exit status `status`."""
    error_line(message)
    raise typer.Exit(status)


def error_line(message: str) -> None:
    """Write the line on stderr, as every command does; red in a terminal."""
    coloured = not os.environ.get("NO_COLOR")
    typer.secho(f"error: {message}", err=True, fg="red" if coloured else None, bold=coloured)


def usage_message(error: typer.TyperException) -> str:
    """What is wrong with a command line, and where its help is."""
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    place = f"; see {context.command_path} --help" if context else ""
    return f"{message[:1].lower()}{message[1:]}{place}"
