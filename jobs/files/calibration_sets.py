"""`CalibrationSets`: uploaded texts; metadata in SQL, bytes in the artifact store under
`calibration-sets/ID/`.

A set is reserved, its file is stored, and then the set becomes visible (`publish`). It is hidden
(`withdraw`) before its file is removed. So a crash leaves a hidden row, which `unfinished` finds,
and never a file without a row. An owner's quota includes reserved sets.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    String,
    cast,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.sql.elements import SQLCoreOperations

from jobs.cursors import make_cursor, read_cursor
from jobs.files.artifacts import Artifacts
from jobs.states import TERMINAL, Status
from jobs.store.clock import from_now
from jobs.store.database import READ_ONLY, lock_owner
from jobs.store.records import Page, new_id
from jobs.store.store import MAX_PAGE
from jobs.store.tables import CALIBRATION_SETS, JOBS
from slimgpt.spec.prune import MAX_TASKS, MAX_TEXTS, UPLOAD, PruneSpec

Format = Literal["jsonl", "csv", "text"]
ENDINGS: dict[Format, str] = {"jsonl": ".jsonl", "csv": ".csv", "text": ".txt"}
KIND = "cal"
SETS = CALIBRATION_SETS.c
SHOWN = tuple(column for column in SETS if column.name != "stored")
RESERVED_SECONDS = 1800.0
"""Longest time to store a file; shorter than the age at which a set counts as unfinished."""
ACTIVE = tuple(status for status in Status if status not in TERMINAL)


class UploadQuotaReached(Exception):  # noqa: N818 - says what is the case
    """The owner's quota of sets or bytes does not allow another set."""


@dataclass(frozen=True, slots=True)
class CalibrationSet:
    """A stored text, named `upload:ID` in jobs. `size` in bytes, `created_at` in UTC."""

    id: str
    owner: str
    name: str
    format: Format
    documents: int
    size: int
    sha256: str
    created_at: datetime

    @property
    def prefix(self) -> str:
        """The prefix of its file in the artifact store."""
        return prefix_of(self.id)

    @property
    def file(self) -> str:
        """The name of its file; the engine detects the format by the suffix."""
        return file_of(self.id, self.format)


@dataclass(frozen=True, slots=True)
class Content:
    """Format, counts and hash of an upload."""

    format: Format
    documents: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits of an owner: number of sets, and their total size in bytes."""

    sets: int
    size: int


class CalibrationSets:
    """The table, for the API and the workers.

    Args:
        engine: from `jobs.store.database.make_engine`, the schema at its newest version.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def reserve(
        self, set_id: str, owner: str, name: str, content: Content, most: Quota
    ) -> CalibrationSet | None:
        """Reserve a set, hidden until `publish`; returns None if it was reserved.

        Returns:
            The owner's set with the same content, if there is one; then nothing need be stored.

        Raises:
            UploadQuotaReached: the set exceeds the owner's quota.
        """
        with self.engine.begin() as connection:
            lock_owner(connection, "uploads", owner)
            if twin := _twin(connection, owner, content):
                return twin
            _require_within(connection, owner, content.size, most)
            reserved = CALIBRATION_SETS.insert().values(
                id=set_id, owner=owner, name=name, stored=False, created_at=from_now()
            )
            connection.execute(reserved.values(**asdict(content)))
        return None

    def publish(self, set_id: str) -> CalibrationSet | None:
        """Make a reserved set visible, after its file is stored.

        Returns:
            The set; another set, if the same content was published in the meantime; or None, if the
            reservation is so old that the sweep may be removing it. In the last two cases the
            caller discards its own set.
        """
        fresh = SETS.created_at > from_now(-RESERVED_SECONDS)
        hidden = select(*SHOWN).where(SETS.id == set_id, SETS.stored.is_(False), fresh)
        with self.engine.begin() as connection:
            row = connection.execute(hidden).mappings().one_or_none()
            if row is None:
                return None
            found = CalibrationSet(**row)
            lock_owner(connection, "uploads", found.owner)
            content = Content(found.format, found.documents, found.size, found.sha256)
            if twin := _twin(connection, found.owner, content):
                return twin
            shown = update(CALIBRATION_SETS).where(SETS.id == set_id, SETS.stored.is_(False))
            done = connection.execute(shown.values(stored=True)).rowcount == 1
        return found if done else None

    def get(self, set_id: str, owner: str | None = None) -> CalibrationSet | None:
        """The set, or None if there is none or it is another owner's."""
        where = [SETS.id == set_id, *([] if owner is None else [SETS.owner == owner])]
        with self._reading() as connection:
            return _one(connection, *where)

    def missing(self, set_ids: Iterable[str], owner: str | None = None) -> set[str]:
        """Those of the ids that `get` would not find."""
        wanted = set(set_ids)
        if not wanted:
            return wanted
        statement = select(SETS.id).where(SETS.id.in_(wanted), SETS.stored)
        if owner is not None:
            statement = statement.where(SETS.owner == owner)
        with self._reading() as connection:
            return wanted - set(connection.scalars(statement))

    def list(
        self, *, owner: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page[CalibrationSet]:
        """Sets, newest first, `limit` (1 to 200) at a time.

        Raises:
            InvalidCursor: the cursor is not one that this method gave.
        """
        limit = max(1, min(limit, MAX_PAGE))
        statement = select(*SHOWN).where(SETS.stored).order_by(SETS.id.desc()).limit(limit + 1)
        if owner is not None:
            statement = statement.where(SETS.owner == owner)
        if cursor is not None:
            statement = statement.where(SETS.id < read_cursor(cursor, f"{KIND}_"))
        with self._reading() as connection:
            found = [CalibrationSet(**row) for row in connection.execute(statement).mappings()]
        more = len(found) > limit
        return Page(found[:limit], make_cursor(found[limit - 1].id) if more else None)

    def withdraw(self, set_id: str) -> bool:
        """Hide a set, unless an unfinished job of any owner names it; `discard` it afterwards.

        Returns False if it was not hidden. Only an admin's job can name another owner's set.
        """
        used = exists().where(JOBS.c.status.in_(ACTIVE), *_named(set_id))
        statement = (
            update(CALIBRATION_SETS)
            .where(SETS.id == set_id, SETS.stored, ~used)
            .values(stored=False)
        )
        with self.engine.begin() as connection:
            return connection.execute(statement).rowcount == 1

    def forget(self, set_id: str) -> None:
        """Remove the row of a hidden set, after its file was removed."""
        hidden = delete(CALIBRATION_SETS).where(SETS.id == set_id, SETS.stored.is_(False))
        with self.engine.begin() as connection:
            connection.execute(hidden)

    def unfinished(self, older_than: float) -> builtins.list[str]:
        """Ids of hidden sets left by crashes, older than `older_than` seconds.

        The age of a set whose removal was interrupted counts from its upload.
        """
        statement = select(SETS.id).where(
            SETS.stored.is_(False), SETS.created_at < from_now(-older_than)
        )
        with self._reading() as connection:
            return list(connection.scalars(statement))

    def _reading(self) -> Any:
        return self.engine.execution_options(**READ_ONLY).connect()


def new_set_id() -> str:
    """The id of a new set."""
    return new_id(KIND)


def prefix_of(set_id: str) -> str:
    """The prefix of a set's file in the artifact store."""
    return f"calibration-sets/{set_id}"


def file_of(set_id: str, form: Format) -> str:
    """The name of a set's file."""
    return set_id + ENDINGS[form]


def named_in(spec: PruneSpec) -> Mapping[str, str]:
    """The uploads that a job names: JSON pointer to the set's id."""
    found = {place: UPLOAD.fullmatch(source) for place, source in spec.text_sources.items()}
    return {place: match[1] for place, match in found.items() if match}


def _named(set_id: str) -> tuple[ColumnElement[bool], ...]:
    """SQL condition that a job names the set, as `named_in`; the id elsewhere does not count."""
    source = f"upload:{set_id}"
    texts = [("evaluation", "texts", index) for index in range(MAX_TEXTS)]
    tasks = [("evaluation", "tasks", index, "source") for index in range(MAX_TASKS)]
    places = [("calibration", "source"), ("recovery", "source"), *texts, *tasks]
    # A search in the whole text rules out most jobs before forty paths are compared.
    written = cast(JOBS.c.spec, String).contains(source, autoescape=True)
    return written, or_(*(JOBS.c.spec[place].as_string() == source for place in places))


def discard(set_id: str, sets: CalibrationSets, artifacts: Artifacts) -> None:
    """Remove a hidden set: its file, then its row.

    Raises:
        OSError: the artifact store does not answer; the sweep tries again.
    """
    artifacts.delete(prefix_of(set_id))
    sets.forget(set_id)


def _one(connection: Connection, *where: SQLCoreOperations[bool]) -> CalibrationSet | None:
    statement = select(*SHOWN).where(SETS.stored, *where).limit(1)
    row = connection.execute(statement).mappings().one_or_none()
    return None if row is None else CalibrationSet(**row)


def _twin(connection: Connection, owner: str, content: Content) -> CalibrationSet | None:
    return _one(
        connection,
        SETS.owner == owner,
        SETS.sha256 == content.sha256,
        SETS.format == content.format,
    )


def _require_within(connection: Connection, owner: str, size: int, most: Quota) -> None:
    kept = select(func.count(), func.coalesce(func.sum(SETS.size), 0)).where(SETS.owner == owner)
    count, total = connection.execute(kept).one()
    if count >= most.sets:
        raise UploadQuotaReached(f"{owner} has {count} calibration sets, which is the limit")
    if total + size > most.size:
        raise UploadQuotaReached(
            f"{owner} has {int(total):,} bytes of calibration sets; {size:,} more exceed the limit "
            f"of {most.size:,}"
        )
