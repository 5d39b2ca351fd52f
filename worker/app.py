"""The Celery application of the workers: one task, which does one job.

`python -m worker` runs it. The parent process only receives messages; the forked child builds
its own connections when its first job comes, because none may be shared over a fork.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_ready

from jobs import logs
from jobs.artifacts import Artifacts
from jobs.database import make_engine
from jobs.progress import Progress
from jobs.queue import TASK, make_app
from jobs.settings import load
from jobs.store import Store
from worker.shutdown import ShutdownFlag
from worker.supervisor import Supervisor

settings = load()
shutdown = ShutdownFlag()  # before the fork
app: Celery = make_app(settings.redis_url.get_secret_value())


@cache
def supervisor() -> Supervisor:
    """This process's supervisor."""
    engine = make_engine(settings.database_url.get_secret_value())
    store = Store(engine, lease_seconds=settings.lease_seconds, max_attempts=settings.max_attempts)
    return Supervisor(
        settings,
        store,
        Progress.connect(settings.redis_url.get_secret_value()),
        Artifacts(settings.artifacts_url),
        shutdown.is_set,
    )


def prune_job(job_id: str) -> str:
    """Do the job, if it is still there to be done. Returns what became of it."""
    return str(supervisor().run(job_id))


def _configure_logs(**_: Any) -> None:
    logs.configure(settings.log_level, as_json=settings.log_json)


def _watch_signals(**_: Any) -> None:
    # After Celery has installed its own handlers: ours raise the flag, then call them.
    shutdown.raise_on_signals()


app.task(name=TASK)(prune_job)
setup_logging.connect(_configure_logs)
worker_ready.connect(_watch_signals)
