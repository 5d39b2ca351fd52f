"""A program's log, and what becomes of it while the program goes on writing."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from cli.service.child import Child, Program, stop
from tests.servers import wait_until

PROGRAM = """
import sys, signal
signal.signal(signal.SIGUSR1, lambda *_: sys.stderr.write("x" * 79 + "\\n") and sys.stderr.flush())
sys.stderr.write("begins\\n" + ("y" * 79 + "\\n") * 2000)
sys.stderr.flush()
while True:
    signal.pause()
"""


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes of the longest log."""
    monkeypatch.setattr("cli.service.child.LOG_BYTES", 100_000)
    return 100_000


def test_a_long_log_is_set_aside_while_its_program_runs(tmp_path: Path, short: int) -> None:
    child = Child(Program("talker", ["python3", "-c", PROGRAM], {**os.environ}, 1.0), tmp_path)
    child.start()
    aside = child.log.with_suffix(".log.1")
    try:
        wait_until(lambda: child.log.stat().st_size >= 160_000, "a long log")
        wait_until(lambda: child.said().endswith("y" * 79 + "\n"), "all is written")
        child.rotate()
        assert aside.read_text().startswith("begins\n")
        assert child.process is not None
        size = child.log.stat().st_size
        child.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: child.log.stat().st_size > size, "it writes on")
        assert child.said().endswith("x" * 79 + "\n")
        assert "\0" not in child.log.read_text()
        child.rotate()  # short: nothing to do
        assert "x" in child.log.read_text()
    finally:
        stop([child], lambda: True)


def test_a_disk_without_room_for_a_copy_gets_its_room_back(tmp_path: Path, short: int) -> None:
    child = Child(Program("talker", ["true"], {}, 1.0), tmp_path)
    child.log.write_bytes(b"z" * (short + 1))
    child.log.with_suffix(".log.1").symlink_to("/dev/full")
    child.rotate()
    assert child.log.stat().st_size == 0
