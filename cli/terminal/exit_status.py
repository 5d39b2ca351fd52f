"""Exit status of commands: 0, 1 expected failure, 2 usage, 130 Ctrl-C."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import typer

from slimgpt.errors import SlimGPTError, SpecError

if TYPE_CHECKING:
    from cli.terminal.event_output import EventOutput

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
        output.show(Failed(code=SpecError.code, message=error.format_message()))
        raise typer.Exit(2) from None
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


def fail(message: str, status: int = 1) -> NoReturn:
    """End the command: one line on stderr, exit status `status`."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(status)
