"""The Celery application: one task, which runs one job.

`python -m worker` runs it. The parent process only receives messages. The forked child opens its
own connections, because connections must not be shared over a fork.
"""

from __future__ import annotations

import os
import socket
import time
from functools import cache
from importlib.metadata import version
from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_process_init, worker_ready, worker_shutdown
from celery.utils.log import get_multiprocessing_logger

from jobs.files import storage_urls
from jobs.files.artifacts import Artifacts
from jobs.files.disks import DiskMetrics
from jobs.logs import structured
from jobs.messages.progress import Progress
from jobs.messages.queue import TASK, make_app
from jobs.messages.workers import WorkerFacts
from jobs.metrics.exposition import serve
from jobs.settings import load
from jobs.store.database import make_engine
from jobs.store.store import Store
from worker import metrics
from worker.engine.resource_metrics import EngineMemory, GpuMetrics
from worker.health import device, heartbeat
from worker.health.polls import poll_step
from worker.health.presence import Presence
from worker.job.supervisor import Supervisor
from worker.shutdown import ShutdownFlag

ANSWER_SECONDS = 10.0
"""Shortest timeout of the database; a longer lease allows a longer one."""
settings = load()
storage_urls.require(settings)
shutdown = ShutdownFlag()  # created before the fork, like the heartbeat
heart = heartbeat.of(settings.work_root, os.getpid())
started = time.time()
facts = WorkerFacts(
    id=f"{socket.gethostname()}:{os.getpid()}:{started:.3f}",
    host=socket.gethostname(),
    pid=os.getpid(),
    device=settings.device,
    version=version("slimgpt-service"),
    started_at=started,
)
app: Celery = make_app(settings.redis_url.get_secret_value())


@cache
def supervisor() -> Supervisor:
    """This process's supervisor."""
    url = settings.database_url.get_secret_value()
    engine = make_engine(url, answer_seconds=max(ANSWER_SECONDS, settings.lease_seconds / 2))
    store = Store(engine, lease_seconds=settings.lease_seconds, max_attempts=settings.max_attempts)
    return Supervisor(
        settings,
        store,
        Progress.connect(settings.redis_url.get_secret_value()),
        Artifacts(settings.artifacts_url),
        shutdown.is_set,
        heart.beat,
    )


def _job() -> str | None:
    """The job that this process runs now."""
    return supervisor().job if supervisor.cache_info().currsize else None


presence = Presence(
    settings.redis_url.get_secret_value(),
    facts,
    lambda: device.describe(settings.device),
    heart,
    _job,
)


def prune_job(job_id: str) -> str:
    """Handle a message: run the oldest queued job. Returns the outcome."""
    return str(supervisor().run(job_id))


def _configure_logs(**_: Any) -> None:
    structured.configure_for(settings)
    get_multiprocessing_logger().propagate = True  # it reports killed children


def _watch_signals(**_: Any) -> None:
    # After Celery has installed its handlers: these set the flag, then call Celery's.
    shutdown.raise_on_signals()


def _stop_heart(**_: Any) -> None:
    heart.stop()
    presence.leave()


def _announce(**_: Any) -> None:
    presence.start()  # in the child, which may keep connections


def _warm_up(**_: Any) -> None:
    supervisor().standby.prepare()  # in the child's main thread, with which the engine ends


def _serve_metrics(**_: Any) -> None:
    # In the child, which does the counted work. A replacement child takes over the port.
    metrics.last_poll.set_function(lambda: heart.at() or 0.0)
    metrics.REGISTRY.register(DiskMetrics(lambda: {"work": settings.work_root}))
    metrics.REGISTRY.register(EngineMemory())
    metrics.REGISTRY.register(GpuMetrics(settings.device, settings.max_devices, os.environ))
    serve(settings, metrics.REGISTRY)


app.task(name=TASK)(prune_job)
app.steps["consumer"].add(poll_step(heart.beat))
setup_logging.connect(_configure_logs)
worker_ready.connect(_watch_signals)
worker_shutdown.connect(_stop_heart)
worker_process_init.connect(_serve_metrics)
worker_process_init.connect(_announce)
worker_process_init.connect(_warm_up)
