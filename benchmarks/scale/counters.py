"""What the servers count: statements by role, transactions, log, connections, processor time."""

from __future__ import annotations

import re
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

import psutil
from sqlalchemy import Engine, text

from benchmarks.load.service import Service
from tests.servers import ObjectStore, PostgresServer

LOOK_SECONDS = 0.5
ROLES = ("api", "worker")
REQUEST = re.compile(r'"(?:GET|HEAD|PUT|POST|DELETE) /')
STATEMENTS = text(
    "SELECT r.rolname AS role, s.query, s.calls, s.rows, s.total_exec_time AS ms "
    "FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid WHERE r.rolname IN ('api', "
    "'worker') ORDER BY s.total_exec_time DESC"
)
DATABASE = text(
    "SELECT xact_commit + xact_rollback AS transactions, deadlocks, "
    "pg_current_wal_lsn() - '0/0' AS wal_bytes, j.n_tup_upd AS updates, j.n_tup_hot_upd AS hot "
    "FROM pg_stat_database, pg_stat_user_tables j "
    "WHERE datname = current_database() AND j.relname = 'jobs'"
)
ACTIVITY = text(
    "SELECT usename, count(*) AS connections, "
    "count(*) FILTER (WHERE wait_event_type = 'Lock') AS waiting "
    "FROM pg_stat_activity WHERE backend_type = 'client backend' GROUP BY usename"
)


class CountingPostgres(PostgresServer):
    """With `pg_stat_statements`, and a role for each kind of process."""

    def command(self) -> list[str]:
        """A later option overrides an earlier one."""
        more = ("shared_preload_libraries=pg_stat_statements", "shared_buffers=128MB")
        return [*super().command(), *(word for option in more for word in ("-c", option))]

    def count(self, engine: Engine) -> None:
        """Begin to count."""
        with engine.begin() as connection:
            connection.execute(text("CREATE EXTENSION pg_stat_statements"))
            for role in ROLES:
                connection.execute(text(f"CREATE ROLE {role} SUPERUSER LOGIN"))


@dataclass
class Peaks(threading.Thread):
    """Looks at the connections until `stop`; most of each role, most that waited for a lock."""

    engine: Engine
    connections: Counter[str] = field(default_factory=Counter)
    waiting: int = 0

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self._over = threading.Event()

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        """Look."""
        while not self._over.wait(LOOK_SECONDS):
            with self.engine.connect() as connection:
                rows = connection.execute(ACTIVITY).all()
            for row in rows:
                most = max(self.connections[row.usename], row.connections)
                self.connections[row.usename] = most
            self.waiting = max(self.waiting, sum(row.waiting for row in rows))

    def stop(self) -> None:
        """End."""
        self._over.set()
        self.join()


def snapshot(service: Service, store: ObjectStore, api: int, workers: list[int]) -> Counter[str]:
    """All counters since their servers started; those of statements since they were reset."""
    with service.engine.connect() as connection:
        found = dict(connection.execute(DATABASE).mappings().one())
    with service.redis.client() as redis:
        info = cast("dict[str, Any]", redis.info())
    assert service.postgres.process is not None
    assert service.redis.process is not None
    assert store.process is not None
    return Counter(
        {
            **{name: int(value) for name, value in found.items()},
            "redis commands": info["total_commands_processed"],
            "redis bytes": info["used_memory"],
            "requests": len(REQUEST.findall(store.log())),
            "postgres cpu": _milliseconds(service.postgres.process.pid),
            "redis cpu": _milliseconds(service.redis.process.pid),
            "store cpu": _milliseconds(store.process.pid),
            "api cpu": _milliseconds(api),
            "worker cpu": sum(map(_milliseconds, workers)),
        }
    )


def statements(engine: Engine) -> list[dict[str, Any]]:
    """What was executed since the reset, that which took longest first."""
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(STATEMENTS).mappings()]


def reset(engine: Engine) -> None:
    """Count statements from now on."""
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_stat_statements_reset()"))


def _milliseconds(pid: int) -> int:
    """Processor time of a process and its descendants, those that it has waited for too."""
    seconds = 0.0
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            seconds += sum(process.cpu_times()[:4])
    return round(seconds * 1000)
