"""`RetentionSweep`: removes what jobs that are over have left, beside the reaper.

1. Files that were kept long enough, or that must make room, are no longer promised.
2. Records that were kept long enough go, with all that belongs to them.
3. Files of a finished job that nothing points at are removed: of attempts that lost their lease
   half-way, of expired jobs, layers on their way to another machine.
4. Uploads that were cut off are removed (`worker.job.uploads`).
5. Now and then the whole place of artifacts is walked through (`worker.housekeeping.orphan_sweep`).

Any number may run at once. What fails is tried again at the next look, after all else: a few files
that cannot be removed, ever, must not hold up those of other jobs.
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
from jobs.store.records import Leftover
from jobs.store.store import Store
from worker.housekeeping.loop import Loop
from worker.housekeeping.metrics import expired_results
from worker.housekeeping.orphan_sweep import OrphanSweep
from worker.job import uploads

PATROL_SECONDS = 6 * 3600.0
MOST_FAILURES = 3
"""In a row; then the place of artifacts is away, and the rest can wait."""
log = structlog.get_logger(__name__)


class ArtifactsAway(Exception):  # noqa: N818 - says what is the case
    """The place of artifacts has failed several times in a row."""


class RetentionSweep(Loop):
    """Looks every `settings.housekeeping_seconds`.

    Args:
        settings: how long, and how much, is kept.
        store: the truth about what is promised.
        artifacts: where files are removed.
        progress: where the events of removed jobs are forgotten.
    """

    def __init__(
        self, settings: Settings, store: Store, artifacts: Artifacts, progress: Progress
    ) -> None:
        super().__init__("housekeeper", settings.housekeeping_seconds)
        self._settings = settings
        self._store = store
        self._artifacts = artifacts
        self._progress = progress
        self._patrol = OrphanSweep(store, artifacts)
        self._next_patrol = 0.0
        self._failures = 0
        self._failed: set[str] = set()
        self._later: dict[str, Callable[[], bool]] = {}

    @classmethod
    def of(cls, settings: Settings, store: Store) -> RetentionSweep:
        """With connections of its own, none of them opened yet.

        Raises:
            ValueError: the place of artifacts is none.
        """
        progress = Progress.connect(settings.redis_url.get_secret_value())
        return cls(settings, store, Artifacts(settings.artifacts_url), progress)

    def look(self) -> None:
        """Remove what is due, once.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the store is away.
            ArtifactsAway: the place of artifacts is.
        """
        self._failures, self._later = 0, {}
        self._expire()
        self._remove_outdated()
        for leftover in self._unswept():
            self._try(leftover.id, lambda leftover=leftover: self._sweep(leftover))  # type: ignore[misc]
        self._sweep_uploads()
        if time.monotonic() >= self._next_patrol and not self.over.is_set():
            self._next_patrol = time.monotonic() + PATROL_SECONDS
            self._patrol.walk(self.over.is_set)
        for name, step in self._later.items():
            if self.over.is_set():
                return
            self._try_now(name, step)

    def expected(self) -> tuple[type[Exception], ...]:
        """Store or artifacts are away."""
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

    def _unswept(self) -> Iterator[Leftover]:
        after = ""
        while found := self._store.unswept(after):
            for leftover in found:
                if self.over.is_set():
                    return
                after = leftover.id
                yield leftover

    def _sweep(self, leftover: Leftover) -> bool:
        return sweep_job(leftover, self._store, self._artifacts)

    def _try(self, name: str, step: Callable[[], bool]) -> bool:
        """Do it for a job or an upload; one whose files stay does not hold up the others."""
        if name in self._failed:
            self._later[name] = step
            return False
        return self._try_now(name, step)

    def _try_now(self, name: str, step: Callable[[], bool]) -> bool:
        try:
            done = step()
        except SQLAlchemyError:
            raise
        except Exception as error:  # every object store has exceptions of its own
            log.warning("files cannot be removed now", of=name, error=repr(error))
            self._failed.add(name)
            self._failures += 1
            if self._failures >= MOST_FAILURES:
                raise ArtifactsAway(f"{MOST_FAILURES} removals failed in a row") from error
            return False
        self._failures = 0
        self._failed.discard(name)
        return done
