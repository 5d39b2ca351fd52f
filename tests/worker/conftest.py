"""A supervisor over SQLite and the real Redis, with a script as its engine."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.files.artifacts import Artifacts
from jobs.messages.progress import Progress
from jobs.settings import Settings
from jobs.store.database import make_engine
from jobs.store.records import Job
from jobs.store.store import Store
from slimgpt.spec.prune import PruneSpec
from worker.job.supervisor import Outcome, Supervisor

SCRIPT = Path(__file__).with_name("script_engine.py")
SPEC = PruneSpec(model="local:tiny", ratio=0.5)


def engine_command(behaviour: str, gate: Path | None = None) -> tuple[str, ...]:
    """The command of the script engine."""
    return (sys.executable, str(SCRIPT), behaviour, *([] if gate is None else [str(gate)]))


class Bench:
    """What a test of the supervisor works with."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine = make_engine(settings.database_url.get_secret_value())
        self.store = Store(self.engine, lease_seconds=settings.lease_seconds)
        self.progress = Progress.connect(settings.redis_url.get_secret_value())
        self.artifacts = Artifacts(settings.artifacts_url)
        self.shutting_down = False
        self.threads: list[threading.Thread] = []

    def job(self) -> Job:
        """A queued job."""
        return self.store.create(SPEC)

    def again(self, job: Job) -> Job:
        """The job as it is now."""
        now = self.store.get(job.id)
        assert now is not None
        return now

    def supervisor(
        self, behaviour: str, gate: Path | None = None, changes: dict[str, Any] | None = None
    ) -> Supervisor:
        """A supervisor whose engine behaves so, with other settings if wanted."""
        update = {"engine_command": engine_command(behaviour, gate)} | (changes or {})
        settings = self.settings.model_copy(update=update)
        return Supervisor(
            settings, self.store, self.progress, self.artifacts, lambda: self.shutting_down
        )

    def work_folders(self) -> list[str]:
        """What lies in the working root."""
        return sorted(path.name for path in self.settings.work_root.iterdir())

    def transfers(self) -> list[threading.Thread]:
        """Transfers to and from the store that have not ended."""
        return [thread for thread in threading.enumerate() if thread.name == "transfer"]

    def beside(self, supervisor: Supervisor, job: Job) -> list[Outcome]:
        """Run a supervisor beside the test; the list holds the outcome when it is done."""
        outcomes: list[Outcome] = []
        thread = threading.Thread(target=lambda: outcomes.append(supervisor.run(job.id)))
        self.threads.append(thread)
        thread.start()
        return outcomes

    def close(self) -> None:
        self.shutting_down = True  # a test that failed leaves its engine running
        for thread in self.threads:
            thread.join(timeout=60)
        self.progress.close()
        self.engine.dispose()


@pytest.fixture
def bench(settings: Settings) -> Iterator[Bench]:
    """SQLite, the real Redis, folders of the test's own; a lease of two seconds."""
    made = Bench(settings.model_copy(update={"lease_seconds": 2.0, "engine_stop_seconds": 0.5}))
    yield made
    made.close()
