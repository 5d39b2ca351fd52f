"""`WarmEngine`: an engine that has imported its libraries and waits for one job; `Standby`.

Imports take most of the time between a post and the first result. This engine has done them when
the job comes. It has seen no model, runs one job and ends, in the same environment, process group
and limits as one that is started for its job. Arguments, folder and the descriptors to keep come
over a socket, its standard input; it ends when the socket is closed.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from jobs.environment import engine_environment
from jobs.settings import Settings
from worker.engine.process import kill, start

AFTER_SECONDS = 3.0
"""Without a job for so long, it begins to import: what starts beside it comes first."""
log = structlog.get_logger(__name__)


class WarmEngine:
    """A waiting engine. Start it on a thread that outlives it, such as the main thread.

    Args:
        command: of the engine; `wait` is appended.
        folder: where it waits.
        environment: its whole environment.

    Raises:
        OSError: the process cannot be started.
    """

    def __init__(
        self, command: Sequence[str], *, folder: Path, environment: Mapping[str, str]
    ) -> None:
        self._line, theirs = socket.socketpair()
        with theirs:
            waiting = [*command, "wait", "--after", str(AFTER_SECONDS)]
            self.process = start(
                waiting, folder=folder, environment=environment, stdin=theirs.fileno()
            )

    def take(
        self, arguments: Sequence[str], *, folder: Path, keep: Sequence[int] = ()
    ) -> subprocess.Popen[bytes] | None:
        """Send the job; the process that runs it, or None if it has ended.

        Args:
            arguments: of the engine, from `run` on.
            folder: becomes its current directory.
            keep: open file descriptors that it gets.
        """
        job = json.dumps({"arguments": [*arguments], "folder": str(folder)}).encode()
        with self._line:
            if self.process.poll() is None:
                try:
                    socket.send_fds(self._line, [job], keep)
                    return self.process
                except OSError:  # it has ended meanwhile
                    pass
        kill(self.process)
        return None

    def close(self) -> None:
        """End it, without a job."""
        self._line.close()
        kill(self.process)


class Standby:
    """At most one engine that waits for a worker's next job.

    Args:
        settings: with another `engine_command`, which may not know how to wait, there is none.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._wanted = settings.warm_engine and "engine_command" not in settings.model_fields_set
        self._engine: WarmEngine | None = None

    def prepare(self) -> None:
        """Let an engine wait, if it is wanted and none does."""
        settings = self._settings
        if not self._wanted or self._engine is not None:
            return
        try:
            settings.work_root.mkdir(parents=True, exist_ok=True)
            self._engine = WarmEngine(
                settings.engine_command,
                folder=settings.work_root,
                environment=engine_environment(os.environ),
            )
        except OSError:
            log.warning("no engine waits for the next job", exc_info=True)

    def taken(self) -> WarmEngine | None:
        """The engine that waits, if any, for the caller to use or close."""
        engine, self._engine = self._engine, None
        return engine
