"""The embedded stack: starts, monitors and stops the service's processes."""

from __future__ import annotations

import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path

import httpx

from cli.service.child import Child, Program, stop
from cli.service.embedded_redis import EmbeddedRedis
from jobs.messages.queue import SOFT_SHUTDOWN_SECONDS

START_SECONDS = 60.0
BACKLOG = 512
"""Queue of connections, for example while the API restarts."""
POLL_SECONDS = 0.2
POLL_TIMEOUT_SECONDS = 2.0
MOST_RESTARTS = 5
RESTARTS_WITHIN_SECONDS = 60.0
API_STOP_SECONDS = 8.0
Say = Callable[[str, str], None]  # (who, what)


class StackError(Exception):
    """The stack cannot run; the message is one line."""


def programs(env: Mapping[str, str], listener: socket.socket) -> dict[str, Program]:
    """The service's processes, in the order of stopping."""
    python, number = sys.executable, listener.fileno()
    uvicorn = [python, "-m", "uvicorn", "--factory", "api.app:from_environment",
               "--fd", str(number), "--backlog", str(BACKLOG), "--no-access-log",
               "--timeout-graceful-shutdown", "3"]  # fmt: skip
    return {
        "api": Program("api", uvicorn, env, API_STOP_SECONDS, keep=(number,)),
        # On TERM it releases its job.
        "worker": Program("worker", [python, "-m", "worker"], env, SOFT_SHUTDOWN_SECONDS + 10.0),
        "reaper": Program("reaper", [python, "-m", "worker.housekeeping.reaper"], env, 5.0),
    }


class Stack:
    """All processes of one service on this machine.

    Args:
        env: environment of the processes, with the settings; the embedded Redis's URL is added.
        listener: the API's listening socket on 127.0.0.1.
        logs: folder for the processes' output.
        redis: the embedded server; None if the settings name a running one.
        say: prints a message: process and text.
    """

    def __init__(
        self,
        env: MutableMapping[str, str],
        listener: socket.socket,
        logs: Path,
        redis: EmbeddedRedis | None,
        say: Say,
    ) -> None:
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.say = say
        self._env = env
        self._listener = listener
        self.redis = redis
        self.redis_child = Child(redis.program(), logs) if redis else None
        self.children = {name: Child(p, logs) for name, p in programs(env, listener).items()}
        self._missing = "the API does not answer"
        self._restarts: deque[float] = deque(maxlen=MOST_RESTARTS)

    def start(self, stopping: Callable[[], bool]) -> bool:
        """Start all processes and wait until the API is ready; False if `stopping` becomes true.

        Raises:
            StackError: a process ended, or the API does not become ready.
            RedisNotStartedError: the embedded Redis does not start.
        """
        if self.redis and self.redis_child:
            self.redis.start(self.redis_child, lambda what: self.say("redis", what))
            self._env["SLIMGPT_REDIS_URL"] = self.redis.url
        for name in ("api", "worker"):
            self.children[name].start()
        deadline = time.monotonic() + START_SECONDS
        with httpx.Client(trust_env=False, timeout=POLL_TIMEOUT_SECONDS) as http:
            while not self._ready(http):
                if stopping():
                    return False
                for child in self._ended():
                    raise StackError(f"{child.name} did not start ({child.ending()}); see "
                                     f"{child.log}")  # fmt: skip
                if time.monotonic() > deadline:
                    log = self.children["api"].log
                    raise StackError(f"after {START_SECONDS:.0f} s {self._missing}; see {log}")
                time.sleep(POLL_SECONDS / 2)
        self.children["reaper"].start()  # last, because the start is limited by the processor
        return True

    def supervise(self) -> None:
        """Restart processes that have ended, and rotate logs.

        Raises:
            StackError: processes end too often.
        """
        for child in self._all():
            child.rotate()
        for child in self._ended():
            now = time.monotonic()
            how = child.ending()
            full = len(self._restarts) == MOST_RESTARTS
            if full and now - self._restarts[0] < RESTARTS_WITHIN_SECONDS:
                raise StackError(f"{child.name} keeps stopping ({how}); see {child.log}")
            self._restarts.append(now)
            self.say(child.name, f"stopped unexpectedly ({how}); restarted, log: {child.log}")
            child.start()

    def stop(self, hurry: Callable[[], bool], idle: Callable[[], bool]) -> None:
        """Stop all processes: the API, then worker and reaper, then Redis.

        Args:
            hurry: returns True to skip grace periods.
            idle: returns True if no worker holds a job. Celery waits for its whole shutdown timeout
                even without a task, so it is killed then.
        """
        stop([self.children["api"]], hurry)
        self._listener.close()
        stop([self.children["worker"], self.children["reaper"]], lambda: hurry() or idle())
        if self.redis_child:
            stop([self.redis_child], hurry)

    def _all(self) -> list[Child]:
        return [*([self.redis_child] if self.redis_child else []), *self.children.values()]

    def _ended(self) -> list[Child]:
        return [child for child in self._all() if child.exit_status() is not None]

    def _ready(self, http: httpx.Client) -> bool:
        with suppress(httpx.TransportError):
            answer = http.get(f"{self.url}/readyz")
            self._missing = "" if answer.is_success else answer.json().get("detail", "")
            return answer.is_success
        return False
