"""`RetentionSweep`: removes expired artifacts, expired records and leftover files.

1. Files expire by age, or to free space.
2. Records expire by age and are removed with all their files.
3. Unreferenced files of finished jobs are removed: those of attempts that lost their lease, of
   expired jobs, and shared layers.
4. Interrupted uploads are removed (`worker.job.uploads`).
5. At intervals the whole artifact store is swept (`worker.housekeeping.orphan_sweep`).

Any number may run at once. What fails is tried again in the next run, after everything else: files
that cannot be removed must not delay those of other jobs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import structlog
from sqlalchemy.exc import SQLAlchemyError

from jobs.files.artifacts import Artifacts
from jobs.files.calibration_sets import CalibrationSets
from jobs.files.removal import remove_job, sweep_job
from jobs.messages.progress import Progress
from jobs.settings import Settings
from jobs.store.records import StaleFiles
from jobs.store.store import Store
from worker.housekeeping.loop import Loop
from worker.housekeeping.metrics import expired_results
from worker.housekeeping.orphan_sweep import OrphanSweep
from worker.job import uploads

ORPHAN_SWEEP_SECONDS = 6 * 3600.0
MOST_FAILURES = 3
"""Consecutive failures after which the artifact store counts as unavailable."""
log = structlog.get_logger(__name__)


class ArtifactsAway(Exception):  # noqa: N818 - says what is the case
    """Several removals in the artifact store have failed in a row."""


class RetentionSweep(Loop):
    """Runs every `settings.housekeeping_seconds`.

    Args:
        settings: ages and limits.
        store: authoritative for what is kept.
        artifacts: where files are removed.
        progress: where events of removed jobs are removed.
    """

    def __init__(
        self, settings: Settings, store: Store, artifacts: Artifacts, progress: Progress
    ) -> None:
        super().__init__("housekeeper", settings.housekeeping_seconds)
        self._settings = settings
        self._store = store
        self._artifacts = artifacts
        self._progress = progress
        self._orphan_sweep = OrphanSweep(store, artifacts)
        self._next_orphan_sweep = 0.0
        self._failures = 0
        self._failed: set[str] = set()
        self._later: dict[str, Callable[[], bool]] = {}

    @classmethod
    def of(cls, settings: Settings, store: Store) -> RetentionSweep:
        """With its own connections, which open on first use.

        Raises:
            ValueError: SLIMGPT_ARTIFACTS_URL is invalid.
        """
        progress = Progress.connect(settings.redis_url.get_secret_value())
        return cls(settings, store, Artifacts(settings.artifacts_url), progress)

    def look(self) -> None:
        """Remove what is due, once.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database is unavailable.
            ArtifactsAway: the artifact store is.
        """
        self._failures, self._later = 0, {}
        self._expire()
        self._remove_outdated()
        for stale in self._unswept():
            self._try(stale.id, lambda stale=stale: sweep_job(stale, self._store, self._artifacts))  # type: ignore[misc]
        self._sweep_uploads()
        if time.monotonic() >= self._next_orphan_sweep and not self.over.is_set():
            self._next_orphan_sweep = time.monotonic() + ORPHAN_SWEEP_SECONDS
            self._orphan_sweep.walk(self.over.is_set)
        for name, step in self._later.items():
            if self.over.is_set():
                return
            self._try_now(name, step)

    def expected(self) -> tuple[type[Exception], ...]:
        """The database or the artifact store is unavailable."""
        return (SQLAlchemyError, ArtifactsAway, OSError)

    def _expire(self) -> None:
        days, limit = self._settings.artifact_days, self._settings.artifact_bytes
        if days is not None:
            self._expire_by(lambda: self._store.expire_older(days), "age")
        if limit is not None:
            self._expire_by(lambda: self._store.expire_beyond(limit), "room")
        kept = self._settings.layer_days
        while not self.over.is_set() and (given_up := self._store.expire_layers(kept)):
            log.info("layers of failed jobs expired", jobs=given_up)

    def _expire_by(self, batch: Callable[[], list[str]], why: str) -> None:
        while not self.over.is_set() and (expired := batch()):
            for job_id in expired:
                log.info("files expired", job=job_id, why=why)
                expired_results.labels(why).inc()

    def _remove_outdated(self) -> None:
        days = self._settings.record_days
        if days is None:
            return
        removed = True
        while removed and not self.over.is_set():
            removed = False
            for job in self._store.outdated(days):
                if self.over.is_set():
                    return
                gone = self._try(
                    job.id,
                    lambda job=job: remove_job(  # type: ignore[misc]
                        job, self._store, self._artifacts, self._progress
                    ),
                )
                if gone:
                    removed = True
                    log.info("record removed", job=job.id)

    def _sweep_uploads(self) -> None:
        sets = CalibrationSets(self._store.engine)
        for set_id in sets.unfinished(uploads.UNFINISHED_SECONDS):
            if self.over.is_set():
                return
            self._try(set_id, lambda set_id=set_id: uploads.sweep(set_id, sets, self._artifacts))  # type: ignore[misc]

    def _unswept(self) -> Iterator[StaleFiles]:
        after = ""
        while found := self._store.unswept(after):
            for stale in found:
                if self.over.is_set():
                    return
                after = stale.id
                yield stale

    def _try(self, name: str, step: Callable[[], bool]) -> bool:
        """Run a step for a job or an upload; those that failed before run last."""
        if name in self._failed:
            self._later[name] = step
            return False
        return self._try_now(name, step)

    def _try_now(self, name: str, step: Callable[[], bool]) -> bool:
        try:
            done = step()
        except SQLAlchemyError:
            raise
        except Exception as error:  # object stores raise their own types
            log.warning("files cannot be removed now", of=name, error=repr(error))
            self._failed.add(name)
            self._failures += 1
            if self._failures >= MOST_FAILURES:
                raise ArtifactsAway(f"{MOST_FAILURES} removals failed in a row") from error
            return False
        self._failures = 0
        self._failed.discard(name)
        return done
