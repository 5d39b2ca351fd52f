"""Real supervisors, each on a thread, each as on a machine of its own: `-m … COUNT CLAIMS`.

Of a worker, everything runs but Celery, which only receives messages, and the heartbeat's file: the
claim, the lease and its thread, the engine's process, layers copied to the object store, the
publication. Each has its own connections and its own working folder. The settings are the service's
`SLIMGPT_*` variables; times of claims are appended to the file CLAIMS. Runs until TERM.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from pathlib import Path

from sqlalchemy import make_url

from benchmarks.load.workers import received
from jobs.files.artifacts import Artifacts
from jobs.messages.progress import Progress
from jobs.settings import Settings, load
from jobs.store.database import make_engine
from jobs.store.records import Claim
from jobs.store.store import Store
from worker.job.supervisor import Supervisor

ROLE = "worker"
ANSWER_SECONDS = 30.0


class TimedStore(Store):
    """The store, which notes when and how long it claimed a job."""

    claims: Path

    def claim_next(self, worker: str) -> Claim | None:
        """As the store's."""
        began = time.perf_counter()
        claim = super().claim_next(worker)
        if claim is not None:
            line = json.dumps([time.time(), (time.perf_counter() - began) * 1e3])
            with self.claims.open("a") as file:  # short enough to be appended whole
                file.write(f"{line}\n")
        return claim


def work(settings: Settings, claims: Path, over: threading.Event) -> None:
    """Run job after job, one for each message."""
    redis_url = settings.redis_url.get_secret_value()
    url = make_url(settings.database_url.get_secret_value()).set(username=ROLE)
    engine = make_engine(url.render_as_string(False), answer_seconds=ANSWER_SECONDS)
    store = TimedStore(engine, lease_seconds=settings.lease_seconds)
    store.claims = claims
    progress, artifacts = Progress.connect(redis_url), Artifacts(settings.artifacts_url)
    supervisor = Supervisor(settings, store, progress, artifacts, over.is_set)
    for _ in received(redis_url, over):
        supervisor.run("")


def main(count: int, claims: Path) -> None:
    """Run so many workers."""
    settings, over = load(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    threads = []
    for number in range(count):
        own = settings.work_root / f"{claims.stem}-{number}"
        own.mkdir(parents=True)
        mine = settings.model_copy(update={"work_root": own})
        threads.append(threading.Thread(target=work, args=(mine, claims, over)))
        threads[-1].start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
