"""What the engine writes for people reaches the log, bounded, with the ids of its job."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from jobs.settings import Settings
from worker.engine.log import BURST, LINE_BYTES, EngineLog
from worker.engine.process import EngineProcess, start


def lines(captured: list[Any]) -> list[str]:
    return [entry["line"] for entry in captured if entry["event"] == "engine"]


def test_lines_are_whole_however_they_arrive() -> None:
    log = EngineLog()
    with capture_logs() as captured:
        for chunk in (b"one\ntw", b"o\r\n\n", "dr\u00fc".encode()[:-1], b"\xbc\rlast"):
            log.feed(chunk)
        log.close()
    assert lines(captured) == ["one", "two", "dr\u00fc", "last"]


def test_a_flood_is_counted_and_an_endless_line_cut() -> None:
    log = EngineLog()
    with capture_logs() as captured:
        log.feed(b"12%\r" * 100_000)
        for _ in range(100):
            log.feed(b"x" * 10_000)
        log.close()
    said = lines(captured)
    assert BURST <= len(said) < BURST + 100
    assert max(map(len, said)) <= LINE_BYTES
    assert captured[-1]["lines"] >= 99_000


def test_entries_carry_the_ids_of_the_job(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    structlog.reset_defaults()
    with structlog.contextvars.bound_contextvars(job="job_7", attempt=2, request_id="req-1"):
        command = [sys.executable, "-c", "import sys; print('no event'); sys.exit('out of luck')"]
        engine = EngineProcess(start(command, folder=tmp_path, environment=dict(os.environ)))
        assert engine.returncode == 1
        assert engine.tail == "out of luck\n"
        engine.close()
    said = capfd.readouterr().out.splitlines()
    for words in ("out of luck", "what is no event"):
        (line,) = [line for line in said if words in line]
        assert "job_7" in line
        assert "req-1" in line


def test_an_event_holds_no_token_of_the_hub(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = "hf_" + "abcdefgh" * 4
    said = f'{{"type": "failed", "code": "x", "message": "environ: {token}", "hint": ""}}'
    command = [sys.executable, "-c", f"print({said!r})"]
    engine = EngineProcess(start(command, folder=tmp_path, environment=dict(os.environ)))
    event = engine.next_event(60)
    assert event is not None
    assert "abcdefgh" not in event.line()
    assert "[redacted]" in event.line()
    engine.close()
