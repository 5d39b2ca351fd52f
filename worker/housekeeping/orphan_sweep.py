"""`OrphanSweep`: removes files from the artifact store that no database row refers to.

A suspended worker may resume after another worker has finished its job, publish, and die before it
removes its files; or its job may be deleted meanwhile. The database has no reference to such files,
so they are found by listing the store.

    files of a job that is not in the database     removed
    files of a finished job that it doesn't keep   removed; a failed one's layers when they expire
    files of any other job                         left alone

The first rule is dangerous if two services share a store, or if a copy of a database runs beside
the original. So the store is marked with the identity of one database, and swept only for that one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import structlog
from sqlalchemy.exc import SQLAlchemyError

from jobs.files import prefixes
from jobs.files.artifacts import Artifacts
from jobs.files.removal import clear
from jobs.store.database import identity
from jobs.store.records import StaleFiles
from jobs.store.store import Store

MARK_FOLDER = "service"
MARK = "database.json"
TOGETHER = 200
log = structlog.get_logger(__name__)


class OrphanSweep:
    """Removes files without a row.

    Args:
        store: the database of jobs.
        artifacts: the artifact store.
    """

    def __init__(self, store: Store, artifacts: Artifacts) -> None:
        self._store = store
        self._artifacts = artifacts

    def walk(self, stop: Callable[[], bool] = lambda: False) -> list[str]:
        """Sweep the store once. Returns the prefixes that were removed.

        Args:
            stop: checked between jobs.

        Raises:
            OSError: the artifact store does not answer.
            sqlalchemy.exc.SQLAlchemyError: the database is unavailable.
        """
        if not self._is_ours():
            return []
        removed: list[str] = []
        for kind in (prefixes.PUBLISHED, prefixes.LAYERS):
            for job_id, stale in self._found(kind):
                if stop():
                    break
                try:
                    removed += self._tidy(kind, job_id, stale)
                except SQLAlchemyError:
                    raise
                except Exception as error:  # of one job; the next sweep tries again
                    log.warning("files cannot be removed now", job=job_id, error=repr(error))
        if removed:
            log.info("files that no job keeps were removed", prefixes=removed[:20], of=len(removed))
        return removed

    def _tidy(self, kind: str, job_id: str, stale: StaleFiles | None) -> list[str]:
        folder = f"{kind}/{job_id}"
        if stale is None:
            self._artifacts.delete(folder)
            return [folder]
        if kind == prefixes.LAYERS and stale.layers_kept:
            return []
        if kind == prefixes.PUBLISHED and stale.kept and stale.epoch == 1:
            return []  # most jobs: one attempt, which is kept
        return clear(folder, stale, self._artifacts)

    def _found(self, kind: str) -> Iterator[tuple[str, StaleFiles | None]]:
        """Jobs with files here that have finished (their stale files) or are unknown (None)."""
        names = [name for name in self._artifacts.children(kind) if name.startswith("job_")]
        for start in range(0, len(names), TOGETHER):
            some = names[start : start + TOGETHER]
            known = self._store.stale_files(some)
            for name in some:
                if name not in known:
                    yield name, None
                elif (stale := known[name]) is not None:
                    yield name, stale

    def _is_ours(self) -> bool:
        """Whether the store is marked for this database; an unmarked one is marked.

        A store with files of unknown jobs is not marked: another service may use it.
        """
        here = identity(self._store.engine)
        if not here:
            log.warning("this database has no identity; files that no job keeps are not looked for")
            return False
        try:
            mark = json.loads(self._artifacts.read(MARK_FOLDER, MARK))
        except FileNotFoundError:
            return self._take(here)
        except ValueError:
            mark = {}
        if mark.get("database") != here:
            log.warning(
                "the artifacts are marked as another database's; nothing is looked for",
                mark=f"{MARK_FOLDER}/{MARK}",
                hint="remove the mark if this database alone uses them",
            )
        return bool(mark.get("database") == here)

    def _take(self, here: str) -> bool:
        strangers = [
            name
            for kind in (prefixes.PUBLISHED, prefixes.LAYERS)
            for name, stale in self._found(kind)
            if stale is None
        ]
        mark = json.dumps({"database": here}).encode()
        if strangers:
            log.warning(
                "files of unknown jobs are not removed: another service may keep its files here",
                jobs=strangers[:5],
                of=len(strangers),
                hint=f"if not, write {mark.decode()} to {MARK_FOLDER}/{MARK}",
            )
            return False
        self._artifacts.write(MARK_FOLDER, MARK, mark)
        return True
