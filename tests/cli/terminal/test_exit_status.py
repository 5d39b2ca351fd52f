"""How commands end: the last line for programs, and the exit status."""

from __future__ import annotations

import pytest
import typer

from cli.terminal.event_output import JsonOutput
from cli.terminal.exit_status import report_failure
from slimgpt.errors import StorageError
from slimgpt.events import Failed, parse

ENDINGS = [
    (StorageError("the disk is full", hint="make room"), 1, "storage-error", "the disk is full"),
    (typer.BadParameter("too large"), 2, "invalid-spec", "invalid value: too large"),
    (KeyboardInterrupt("go on with --resume"), 130, "interrupted", "interrupted"),
    (ZeroDivisionError("by zero"), 1, "internal-error", "ZeroDivisionError: by zero"),
]


@pytest.mark.parametrize(("error", "status", "code", "message"), ENDINGS)
def test_every_failure_has_a_last_line_and_a_status(
    error: BaseException, status: int, code: str, message: str
) -> None:
    lines: list[str] = []
    with pytest.raises(typer.Exit) as left, report_failure(JsonOutput(lines.append)):
        raise error
    (failed,) = map(parse, lines)
    assert isinstance(failed, Failed)
    assert (left.value.exit_code, failed.code, failed.message) == (status, code, message)


def test_a_defect_shows_where_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), report_failure(JsonOutput(lambda line: None)):
        raise ZeroDivisionError
    assert "test_exit_status.py" in capsys.readouterr().err


@pytest.mark.parametrize("error", [typer.Exit(3), BrokenPipeError()])
def test_an_ending_of_its_own_passes(error: Exception) -> None:
    lines: list[str] = []
    with pytest.raises(type(error)) as left, report_failure(JsonOutput(lines.append)):
        raise error
    assert left.value is error
    assert lines == []
