"""`OrphanSweep`: walks through the place of artifacts, for what no row tells of.

A worker that was suspended while another finished its job may publish when everything has been
swept, and die before it takes its files back; a job may be deleted under it. Nothing in the
database knows of such files, so they are found from the other end: by their names.

    files of a job that is not in the database     removed
    files of a finished job that it doesn't keep   removed; a failed one's layers when they expire
    files of any other job                         left alone

The first line is dangerous where two services share a place, or where a copy of a database was
started beside the original. So the place is marked with the identity of one database, and walked
through for that one alone.
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
from jobs.store.records import Leftover
from jobs.store.store import Store

MARK_FOLDER = "service"
MARK = "database.json"
TOGETHER = 200
log = structlog.get_logger(__name__)


class OrphanSweep:
    """Removes what no row tells of.

    Args:
        store: whose jobs are known.
        artifacts: the place, its own or shared by mistake.
    """

    def __init__(self, store: Store, artifacts: Artifacts) -> None:
        self._store = store
        self._artifacts = artifacts

    def walk(self, stop: Callable[[], bool] = lambda: False) -> list[str]:
        """Go through it once. Returns the prefixes that were removed.

        Args:
            stop: asked between jobs.

        Raises:
            OSError: the place does not answer.
            sqlalchemy.exc.SQLAlchemyError: the store is away.
        """
        if not self._is_ours():
            return []
        removed: list[str] = []
        for kind in (prefixes.PUBLISHED, prefixes.LAYERS):
            for job_id, leftover in self._found(kind):
                if stop():
                    break
                try:
                    removed += self._tidy(kind, job_id, leftover)
                except SQLAlchemyError:
                    raise
                except Exception as error:  # of one job; the next walk comes by again
                    log.warning("files cannot be removed now", job=job_id, error=repr(error))
        if removed:
            log.info("files that no job keeps were removed", prefixes=removed[:20], of=len(removed))
        return removed

    def _tidy(self, kind: str, job_id: str, leftover: Leftover | None) -> list[str]:
        folder = f"{kind}/{job_id}"
        if leftover is None:
            self._artifacts.delete(folder)
            return [folder]
        if kind == prefixes.LAYERS and leftover.layers_kept:
            return []
        if kind == prefixes.PUBLISHED and leftover.kept and leftover.epoch == 1:
            return []  # almost all are such: one attempt, which is kept
        return clear(folder, leftover, self._artifacts)

    def _found(self, kind: str) -> Iterator[tuple[str, Leftover | None]]:
        """Jobs with files here that are over (what may be left of them) or unknown (None)."""
        names = [name for name in self._artifacts.children(kind) if name.startswith("job_")]
        for start in range(0, len(names), TOGETHER):
            some = names[start : start + TOGETHER]
            known = self._store.leftovers(some)
            for name in some:
                if name not in known:
                    yield name, None
                elif (leftover := known[name]) is not None:
                    yield name, leftover

    def _is_ours(self) -> bool:
        """Whether the place is marked for this database; a place without a mark gets it.

        Unless there are files of jobs that are unknown here: then somebody else may use it.
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
            for name, leftover in self._found(kind)
            if leftover is None
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
