"""`start` and `EngineProcess`: the engine subprocess, its events, stderr tail and termination.

The child has its own session, so that one signal reaches all its processes; it dies with this
process (`worker.engine.launch`); and its environment has no secrets. Three threads serve it: one
parses events, one keeps the tail of stderr, one waits for its end and kills remaining processes.
`worker.job.attempt` keeps its limits of time, and stops it.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextvars import copy_context
from pathlib import Path
from typing import IO

import structlog

from jobs.logs.redaction import for_clients, redact
from slimgpt.events import AnyEvent, Result, parse
from worker.engine import launch, oom_kills
from worker.engine.log import EngineLog
from worker.engine.oom_kills import Finding

LINE_BYTES = 128 << 20  # a result names every channel kept: 10 MB for a model of 70B
EVENT_BYTES = 64 << 10  # of any other event, and of a result without its layers
TAIL_BYTES = 16 << 10
QUEUED_EVENTS = 1000
LOGGED_GARBAGE = 20
log = structlog.get_logger(__name__)


def start(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    stdin: int = subprocess.DEVNULL,
    keep: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start an engine, on a thread that outlives it, such as the main thread.

    Args:
        command: the program and its arguments.
        folder: current directory of the engine.
        environment: its whole environment (`jobs.environment.engine_environment`).
        stdin: file descriptor of its standard input.
        keep: open file descriptors to inherit.

    Raises:
        OSError: the process cannot be started.
    """
    return subprocess.Popen(
        launch.command(command, oom_score=launch.EXPENDABLE, nice=launch.YIELDING),
        cwd=folder,
        env=dict(environment),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        pass_fds=tuple(keep),
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill an engine that nobody watches, with its group, and close its pipes."""
    if process.poll() is None:
        _signal_group(process.pid, signal.SIGKILL)
    with process:
        pass


class EngineProcess:
    """A running engine, watched.

    Args:
        process: of `start`.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._oom_kills = oom_kills.read()
        self._process = process
        self.pid = process.pid
        self.garbage = 0
        self.peak_bytes = 0
        """Peak resident memory, known after the end."""
        self.memory: tuple[Finding, int | None] = ("unknown", None)
        """Whether memory ran out, and its limit in bytes; known after the end."""
        self._events: queue.Queue[AnyEvent | None] = queue.Queue(QUEUED_EVENTS)
        self._tail = bytearray()
        self._reaping = threading.Lock()
        self._abandoned = threading.Event()
        targets = (self._read_events, self._read_tail, self._await_end)
        self._threads = [
            # With this thread's context, so that log entries carry the job's ids.
            threading.Thread(target=copy_context().run, args=(target,), daemon=True)
            for target in targets
        ]
        for thread in self._threads:
            thread.start()

    def next_event(self, seconds: float) -> AnyEvent | None:
        """The next event, or None after a timeout.

        Raises:
            EOFError: the engine has ended and there are no more events.
        """
        try:
            event = self._events.get(timeout=seconds)
        except queue.Empty:
            return None
        if event is not None:
            return event
        self._events.put(None)
        # The engine may have closed its output and still run.
        self._threads[2].join(seconds)
        if self._threads[2].is_alive():
            return None
        raise EOFError

    @property
    def returncode(self) -> int:
        """Exit status, negative for a signal; waits for the end."""
        self._threads[2].join()
        return self._process.returncode

    @property
    def tail(self) -> str:
        """The end of the engine's standard error, without secrets."""
        self._threads[1].join(timeout=1.0)
        return redact(self._tail.decode(errors="replace"))

    def stop(self, grace: float) -> None:
        """Send TERM to the process group, and KILL after `grace` seconds; wait for the end."""
        self._abandoned.set()
        if grace > 0:
            self._signal(signal.SIGTERM)
            self._threads[2].join(grace)
        self._signal(signal.SIGKILL)
        self._threads[2].join()

    def close(self) -> None:
        """Kill the engine if it still runs, and close its pipes."""
        self.stop(0)
        streams = (self._process.stdout, self._process.stderr)
        for thread, stream in zip(self._threads[:2], streams, strict=True):
            thread.join(timeout=2.0)
            # A process that left the group may hold the pipe open; do not wait for it.
            if stream is not None and not thread.is_alive():
                stream.close()

    def _signal(self, number: int) -> None:
        # Locked, because the pid of a reaped child may belong to another process.
        with self._reaping:
            if self._process.returncode is None:
                _signal_group(self.pid, number)

    def _await_end(self) -> None:
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        # The child is a zombie, so its group id is not reused: kill the remaining processes.
        with self._reaping:
            _signal_group(self.pid, signal.SIGKILL)
            _, status, usage = os.wait4(self.pid, 0)
            self.peak_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
            now = oom_kills.read()
            self.memory = now.since(self._oom_kills), now.limit
            self._process.returncode = os.waitstatus_to_exitcode(status)

    def _read_events(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        try:
            for line in _lines(stdout):
                try:
                    self._put(_event(line))
                except ValueError:  # not UTF-8, or not a valid event
                    self._note_garbage(line)
        finally:  # readers must not wait for more after a defect
            self._put(None)

    def _put(self, event: AnyEvent | None) -> None:
        while True:
            try:
                return self._events.put(event, timeout=0.5)
            except queue.Full:
                if self._abandoned.is_set():  # nobody reads events any more; drain the pipe
                    return None

    def _note_garbage(self, line: bytes) -> None:
        self.garbage += 1
        if line.strip() and self.garbage <= LOGGED_GARBAGE:
            log.warning(
                "the engine wrote what is no event", line=line[:200].decode(errors="replace")
            )

    def _read_tail(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None
        lines = EngineLog()
        while chunk := stderr.read1(1 << 16):  # type: ignore[attr-defined]
            self._tail += chunk
            del self._tail[:-TAIL_BYTES]
            lines.feed(chunk)
        lines.close()


def _event(line: bytes) -> AnyEvent:
    """Parse a line as an event of limited size, because a compromised engine may send anything.

    The layers of a result are dropped: they were sent one by one, and are in the checkpoint.

    Raises:
        ValueError: it is not an event, or too large.
    """
    if not line.startswith(b"{") or (len(line) > EVENT_BYTES and b'"result"' not in line):
        raise ValueError("no event, or too large for one")
    event = parse(redact(line.decode()))  # it may hold the hub's token
    if isinstance(event, Result):
        event = event.model_copy(update={"layers": []})
    if len(line) > EVENT_BYTES and len(event.line()) > EVENT_BYTES:
        raise ValueError("too large for an event")
    # Events are shown to the job's owner; only the worker uses the checkpoint's path.
    values = event.model_dump()
    redacted: AnyEvent = type(event).model_validate({**for_clients(values), **_place(event)})
    return redacted


def _place(event: AnyEvent) -> dict[str, str]:
    return {"checkpoint": event.checkpoint} if isinstance(event, Result) else {}


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: stream.readline(LINE_BYTES), b"")


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended by itself
        os.killpg(group, number)
