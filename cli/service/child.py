"""`Child`: one process of the embedded stack, killed with its parent."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from worker.engine.launch import command

LOG_BYTES = 10 << 20
TAIL_BYTES = 8192


@dataclass(frozen=True)
class Program:
    """A program to run.

    Args:
        name: one word, for messages and the log's file name.
        argv: command line.
        env: the complete environment.
        grace: seconds between TERM and KILL.
        stdin: standard input, for a configuration with secrets.
        cwd: working directory.
        keep: open file descriptors to inherit.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    grace: float
    stdin: str = ""
    cwd: Path | None = None
    keep: Sequence[int] = ()


class Child:
    """A running program; its output is in `NAME.log` of the folder `logs`.

    It has its own session, so that Ctrl-C in the terminal reaches only the supervisor, which stops
    the children in order. Start it from the main thread: it is killed when that thread ends.
    """

    def __init__(self, program: Program, logs: Path) -> None:
        self.program = program
        self.log = logs / f"{program.name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._start_of_log = 0

    @property
    def name(self) -> str:
        """The program's name."""
        return self.program.name

    def start(self) -> None:
        """Run the program.

        Raises:
            OSError: the log cannot be written or the program cannot be started.
        """
        self.rotate()
        with self.log.open("ab") as log:
            self._start_of_log = log.tell()
            self.process = subprocess.Popen(
                command(self.program.argv),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(self.program.env),
                cwd=self.program.cwd,
                pass_fds=tuple(self.program.keep),
                start_new_session=True,
            )
        assert self.process.stdin is not None
        with suppress(BrokenPipeError), self.process.stdin as stdin:
            stdin.write(self.program.stdin.encode())

    def rotate(self) -> None:
        """Rotate a long log to `NAME.log.1` by copying and truncating it.

        The program keeps the file open for appending. Lines written between copy and truncation are
        lost.
        """
        with suppress(OSError):
            if self.log.stat().st_size <= LOG_BYTES:
                return
            try:
                shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
            finally:  # even on a full disk, which needs the space
                os.truncate(self.log, 0)
                self._start_of_log = 0

    def exit_status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return None if self.process is None else self.process.poll()

    def ending(self) -> str:
        """The exit status as text, and the last line of output."""
        status = self.exit_status() or 0
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit {status}"
        words = "" if status < 0 else _plain(self._last_line())
        return f"{how}: {words}" if words else how

    def said(self) -> str:
        """The last output since the start."""
        try:
            with self.log.open("rb") as log:
                end = log.seek(0, os.SEEK_END)
                log.seek(max(self._start_of_log, end - TAIL_BYTES))
                return log.read().decode(errors="replace")
        except OSError:
            return ""

    def _last_line(self) -> str:
        lines = self.said().split("\n")
        return next((line.strip()[:2000] for line in reversed(lines) if line.strip()), "")


def _plain(line: str) -> str:
    """The event and error of a JSON log line; other lines unchanged."""
    try:
        entry = json.loads(line)
        return ": ".join(str(entry[key]) for key in ("event", "error") if key in entry)
    except (ValueError, TypeError):
        return line


def stop(children: Sequence[Child], hurry: Callable[[], bool]) -> None:
    """Stop children and their descendants: TERM, then KILL after the grace period.

    Args:
        children: some may have ended already.
        hurry: returns True to skip the grace period.
    """
    families = [(child, _family(child)) for child in children if child.process is not None]
    for child, _ in families:
        if child.process is not None and child.exit_status() is None:
            child.process.terminate()
    began = time.monotonic()
    for child, family in families:
        while child.exit_status() is None and not hurry():
            if time.monotonic() - began > child.program.grace:
                break
            time.sleep(0.02)
        _kill(family)
        if child.process is not None:
            child.process.wait()


def _family(child: Child) -> list[psutil.Process]:
    assert child.process is not None
    with suppress(psutil.NoSuchProcess):
        top = psutil.Process(child.process.pid)
        return [top, *top.children(recursive=True)]
    return []


def _kill(family: Sequence[psutil.Process]) -> None:
    """Kill the remaining processes; psutil detects reused process ids."""
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family[1:], timeout=5)
