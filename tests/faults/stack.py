"""`Stack`: a whole service as processes that a test may hurt, over its own Redis and PostgreSQL.

One API, two workers, two reapers. Every process of it, however deep, has the stack's folder as
TMPDIR in its environment (which the engine's clean environment keeps): so none can hide.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
from sqlalchemy.exc import InterfaceError, OperationalError

from jobs.files.artifacts import Artifacts
from jobs.messages.queue import Queue
from jobs.store.database import make_engine, upgrade
from jobs.store.records import Job
from jobs.store.store import Store
from tests.faults.disk import Disk
from tests.faults.wire import Wire
from tests.servers import (
    ObjectStore,
    PostgresServer,
    RedisServer,
    free_port,
    postgres_binaries,
    wait_until,
)
from worker.engine import launch

ENGINE = Path(__file__).with_name("engine.py")
WORKERS = ("worker-0", "worker-1")
REAPERS = ("reaper-0", "reaper-1")
NAMES = ("api", *WORKERS, *REAPERS)
START_SECONDS = 120.0
UVICORN = ("uvicorn", "--factory", "api.app:from_environment", "--host", "127.0.0.1")


class DurablePostgres(PostgresServer):
    """Keeps what it committed when it is shot, which is enough where no machine loses power."""

    def command(self) -> list[str]:
        """A later option overrides an earlier one."""
        return [*super().command(), "-c", "synchronous_commit=on", "-c", "full_page_writes=on"]

    def shoot(self) -> None:
        """Stop it at once ("immediate"): the next start recovers from the log."""
        self.kill(signal.SIGQUIT)


class DurableRedis(RedisServer):
    """Keeps its data over a kill, unless it is wiped."""

    def command(self) -> list[str]:
        """With an append-only file."""
        return [*super().command(), "--appendonly", "yes"]

    def wipe(self) -> None:
        """Forget everything; only while it is down."""
        for path in self.folder.glob("appendonly*"):
            shutil.rmtree(path)


class Stack:
    """See the module. `start` first, `close` last.

    Args:
        folder: of its own; everything that the service writes is below it.
        lease_seconds: short, so that what is lost is found soon.
        layer_seconds: pace of the scripted engine.
        settings: further settings by their names, as text.
        on_s3: artifacts go to an object store, over a wire that can be cut; else to a folder.
    """

    def __init__(
        self,
        folder: Path,
        *,
        lease_seconds: float = 2.0,
        layer_seconds: float = 0.1,
        settings: Mapping[str, str] | None = None,
        on_s3: bool = False,
    ) -> None:
        binaries = postgres_binaries()
        assert binaries is not None, "PostgreSQL is needed"
        self.folder, self.home = folder, folder / "home"
        self.tmp, self.logs = folder / "tmp", folder / "logs"
        self.disk = Disk(self.home / "disk")
        self.work, self.published = self.disk.folder / "work", self.disk.folder / "artifacts"
        models, texts = self.home / "models", self.home / "texts"
        for path in (self.tmp, self.logs, self.work, self.published, models / "scripted", texts):
            path.mkdir(parents=True)
        (models / "scripted" / "config.json").write_text("{}")
        self.lease_seconds, self.layer_seconds = lease_seconds, layer_seconds
        self.settings = dict(settings or {})
        self.redis, self.postgres, self.port = DurableRedis(), DurablePostgres(binaries), 0
        self.object_store = ObjectStore() if on_s3 else None
        self.wire: Wire | None = None
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._began: dict[str, int] = {}  # bytes of the log before the process started

    def start(self) -> None:
        """Start the servers and the service; returns when it is ready."""
        self.port = free_port()
        self.redis.start()
        self.postgres.start()
        self.database_url = self.postgres.url(self.postgres.clone())
        upgrade(self.database_url)
        self._engine = make_engine(self.database_url)
        self.store = Store(self._engine, lease_seconds=self.lease_seconds)
        self.queue = Queue(self.redis.url)
        if self.object_store is not None:
            self._lay_wire(self.object_store)
        self.artifacts = Artifacts(self._settings()["artifacts_url"])
        self.http = httpx.Client(base_url=_loopback(self.port), trust_env=False, timeout=60)
        self.repair()

    def _lay_wire(self, store: ObjectStore) -> None:
        store.start()
        self.wire = Wire(store.port)
        self.bucket = store.new_bucket()
        self.settings["artifacts_url"] = f"s3://{self.bucket}/some/folder"
        # Whoever looks from outside does so past the wire.
        self._before = {name: os.environ.get(name) for name in store.environment}
        os.environ.update(store.environment)

    def files(self) -> list[str]:
        """Paths of all that lies in the place of artifacts."""
        if self.object_store is not None:
            keys = self.object_store.keys(self.bucket)
            return [key.removeprefix("some/folder/") for key in keys]
        root = self.published
        return [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]

    def _settings(self) -> dict[str, str]:
        return {
            "home": str(self.home),
            "work_root": str(self.work),
            "artifacts_url": str(self.published),
            "database_url": self.database_url,
            "redis_url": self.redis.url,
            "auth": "off",
            "loopback_only": "true",
            "device": "cpu",
            "min_free_bytes": "0",
            "lease_seconds": str(self.lease_seconds),
            "reap_seconds": "0.2",
            "redispatch_seconds": "2",
            "housekeeping_seconds": "0.5",
            "engine_stop_seconds": "1",
            "engine_command": json.dumps([sys.executable, str(ENGINE), str(self.layer_seconds)]),
            **self.settings,
        }

    def _environment(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("SLIMGPT_")}
        named = {f"SLIMGPT_{name.upper()}": value for name, value in self._settings().items()}
        wired = {} if self.wire is None else {"AWS_ENDPOINT_URL": _loopback(self.wire.port)}
        return {**own, **named, **wired, "TMPDIR": str(self.tmp)}

    def run(self, name: str, changes: Mapping[str, str] | None = None) -> None:
        """Start one process of the service; does not wait."""
        path = self.log(name)
        self._began[name] = path.stat().st_size if path.exists() else 0
        with path.open("ab") as log:
            self._processes[name] = subprocess.Popen(
                launch.command(self._command(name)),
                env={**self._environment(), **(changes or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _command(self, name: str) -> list[str]:
        uvicorn = [*UVICORN, "--port", str(self.port), "--no-access-log"]
        modules = {"api": uvicorn, "worker": ["worker"], "reaper": ["worker.housekeeping.reaper"]}
        return [sys.executable, "-m", *modules[name.split("-", maxsplit=1)[0]]]

    def log(self, name: str) -> Path:
        """Where a process writes to; all of its lives."""
        return self.logs / f"{name}.log"

    def process(self, name: str) -> psutil.Process:
        """A running process of the service."""
        return psutil.Process(self._processes[name].pid)

    def repair(self) -> None:
        """Let everything run that should, as its operator would; returns when it does."""
        for server in (self.redis, self.postgres):
            if server.process is None:
                server.start()
        if self.wire is not None:
            self.wire.mend()
        for process in self.members():
            with suppress(psutil.NoSuchProcess):
                process.resume()
        for name in NAMES:
            if name not in self._processes or self._processes[name].poll() is not None:
                self.run(name)
        wait_until(self._ready, f"the service is ready; logs are in {self.logs}", START_SECONDS)

    def _ready(self) -> bool:
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended at once:\n{self.log(name).read_text()[-2000:]}")
        texts = {name: self.log(name).read_bytes()[self._began[name] :] for name in WORKERS}
        with suppress(httpx.TransportError):
            workers = all(b" ready." in text for text in texts.values())
            return workers and self.http.get("/readyz").is_success
        return False

    def kill(self, name: str) -> None:
        """Kill -9 a process of the service, and wait for its end."""
        self._processes[name].kill()
        self._processes[name].wait(START_SECONDS)

    def members(self) -> list[psutil.Process]:
        """Every living process that the stack started, by what its environment names."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.environ().get("TMPDIR") == str(self.tmp):
                    found.append(process)
        return found

    def engines(self) -> list[psutil.Process]:
        """The members that are engines or were started by one: they see no settings."""
        return [process for process in self.members() if "SLIMGPT_HOME" not in _seen(process)]

    def strangers(self) -> list[str]:
        """Members that neither are one of the service's processes nor below one."""
        own = {process.pid for process in self._processes.values() if process.poll() is None}
        found = []
        for process in self.members():
            with suppress(psutil.NoSuchProcess):
                line = {process.pid, *(above.pid for above in process.parents())}
                if not line & own:
                    found.append(f"{process.pid} {' '.join(process.cmdline())}")
        return found

    def job(self, job_id: str) -> Job | None:
        """The job as it is now; None while nobody can say."""
        with suppress(OperationalError, InterfaceError):
            return self.store.get(job_id)
        return None

    def child_of(self, job: Job | None) -> psutil.Process | None:
        """The Celery child that holds the job."""
        if job is None or job.worker is None:
            return None
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(int(job.worker.split(":")[1]))
        return None

    def events(self, log: str) -> list[dict[str, Any]]:
        """What a process wrote to its log as JSON."""
        lines = self.log(log).read_text(encoding="utf-8", errors="replace").splitlines()
        found = []
        for line in lines:
            with suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict):
                    found.append(entry)
        return found

    def close(self) -> None:
        """End everything, nicely where it can be done quickly, and unmount the disk."""
        for process in self._processes.values():
            process.kill()
            process.wait(START_SECONDS)
        with suppress(AttributeError):  # not started
            self.http.close()
            self.queue.close()
            self._engine.dispose()
        if self.wire is not None and self.object_store is not None:
            self.wire.close()
            self.object_store.close()
            for name, value in self._before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        self.redis.close()
        self.postgres.close()
        self.disk.close()


def _loopback(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _seen(process: psutil.Process) -> dict[str, str]:
    """The environment of a process; that of one which is gone names everything."""
    try:
        return process.environ()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return {"SLIMGPT_HOME": "gone"}
