"""`Keys`: API keys in SQL, stored as keyed hashes.

A key is `slim_ID_SECRET`: the id finds the row, the secret has 256 random bits. HMAC-SHA256 of the
whole key under a secret of the server, the pepper, is stored, so a reader of the table can neither
use a key nor test a guess. A slow password hash would add nothing, because 256 random bits cannot
be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Engine, RowMapping, case, insert, or_, select, update

from jobs.cursors import make_cursor, read_cursor
from jobs.store.clock import from_now
from jobs.store.database import READ_ONLY
from jobs.store.records import CROCKFORD, Page
from jobs.store.tables import API_KEYS

MIN_PEPPER = 32
LAST_USED_SECONDS = 60.0
OWNER = r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,127}$"
MAX_NAME = 128
MAX_KEYS = 200
_ID_LETTERS, _SECRET_LETTERS = 12, 52  # of 5 bits each
_KEY = re.compile(f"slim_([{CROCKFORD}]{{{_ID_LETTERS}}})_[{CROCKFORD}]{{{_SECRET_LETTERS}}}")
_COLUMNS = tuple(column for column in API_KEYS.c if column.name != "digest")


class BadKeyRequest(ValueError):  # noqa: N818 - says what is the case
    """A key cannot be created; the message says why."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret."""

    id: str
    owner: str
    name: str
    admin: bool
    created_at: datetime
    last_used_at: datetime | None
    """To the minute; None if never used."""
    revoked_at: datetime | None


class NewKey(NamedTuple):
    """A new key, and its text, which is not stored."""

    key: ApiKey
    text: str


def require_pepper(pepper: str) -> None:
    """Check that the pepper is long enough.

    Raises:
        BadKeyRequest: it is missing or short.
    """
    if len(pepper) < MIN_PEPPER:
        said = "is not set" if not pepper else f"has {len(pepper)} characters"
        raise BadKeyRequest(
            f"SLIMGPT_KEY_PEPPER {said}; keys need a secret of at least {MIN_PEPPER} "
            "characters, the same for every process: openssl rand -hex 32"
        )


class Keys:
    """API keys of one database.

    Args:
        engine: from `jobs.store.database.make_engine`, the schema at its newest version.
        pepper: `Settings.key_pepper`, the same in every process.

    Raises:
        BadKeyRequest: the pepper is missing or short.
    """

    def __init__(self, engine: Engine, pepper: str) -> None:
        require_pepper(pepper)
        self.engine = engine
        self._pepper = pepper.encode()

    def create(self, owner: str, *, name: str = "", admin: bool = False) -> NewKey:
        """Create a key for an owner.

        Raises:
            BadKeyRequest: the owner or the name is invalid.
        """
        if not re.fullmatch(OWNER, owner):
            raise BadKeyRequest(
                f"{owner!r} is not a valid owner; use up to 128 letters, digits and _ . @ -, "
                "beginning with a letter or digit"
            )
        if len(name) > MAX_NAME or not name.isprintable():
            raise BadKeyRequest(f"a key's name is at most {MAX_NAME} printable characters")
        short = _random(_ID_LETTERS)
        text = f"slim_{short}_{_random(_SECRET_LETTERS)}"
        row = {
            "id": f"key_{short}",
            "owner": owner,
            "name": name,
            "admin": admin,
            "digest": self._digest(text),
            "created_at": from_now(),
        }
        with self.engine.begin() as connection:
            made = connection.execute(insert(API_KEYS).values(row).returning(*_COLUMNS))
            return NewKey(_key_of(made.mappings().one()), text)

    def find(self, text: str) -> ApiKey | None:
        """The key of this text, unless unknown or revoked; records the time of use, to the minute.

        Results are not cached, so a revoked key is refused at once.
        """
        match = _KEY.fullmatch(text)
        if match is None:
            return None
        stale = or_(
            API_KEYS.c.last_used_at.is_(None),
            API_KEYS.c.last_used_at <= from_now(-LAST_USED_SECONDS),
        )
        statement = select(API_KEYS, case((stale, 1), else_=0).label("stale")).where(
            API_KEYS.c.id == f"key_{match[1]}", API_KEYS.c.revoked_at.is_(None)
        )
        with self.engine.execution_options(**READ_ONLY).connect() as connection:
            row = connection.execute(statement).mappings().one_or_none()
        # Compared without a row as well, so that timing does not reveal which ids exist.
        stored = "0" * 64 if row is None else row["digest"]
        if not hmac.compare_digest(stored, self._digest(text)) or row is None:
            return None
        if row["stale"]:
            touched = update(API_KEYS).where(API_KEYS.c.id == row["id"], stale)
            with self.engine.begin() as connection:
                connection.execute(touched.values(last_used_at=from_now()))
        return _key_of(row)

    def lives(self, key_id: str) -> bool:
        """Whether a key exists and is not revoked."""
        statement = select(API_KEYS.c.id).where(
            API_KEYS.c.id == key_id, API_KEYS.c.revoked_at.is_(None)
        )
        with self.engine.execution_options(**READ_ONLY).connect() as connection:
            return connection.execute(statement).first() is not None

    def _digest(self, text: str) -> str:
        return hmac.new(self._pepper, text.encode(), hashlib.sha256).hexdigest()


def list_keys(engine: Engine, owner: str | None = None) -> list[ApiKey]:
    """All keys, or an owner's, including revoked ones, oldest first."""
    statement = select(*_COLUMNS).order_by(API_KEYS.c.created_at, API_KEYS.c.id)
    if owner is not None:
        statement = statement.where(API_KEYS.c.owner == owner)
    with engine.execution_options(**READ_ONLY).connect() as connection:
        return [_key_of(row) for row in connection.execute(statement).mappings()]


def page_of_keys(
    engine: Engine, owner: str | None, *, limit: int, cursor: str | None
) -> Page[ApiKey]:
    """Keys, revoked ones too, newest first, `limit` (1 to 200) at a time.

    Raises:
        InvalidCursor: the cursor is not one that this function gave.
    """
    limit = max(1, min(limit, MAX_KEYS))
    order = API_KEYS.c.created_at.desc(), API_KEYS.c.id.desc()
    statement = select(*_COLUMNS).order_by(*order).limit(limit + 1)
    if owner is not None:
        statement = statement.where(API_KEYS.c.owner == owner)
    if cursor is not None:
        last = read_cursor(cursor, "key_")
        since = select(API_KEYS.c.created_at).where(API_KEYS.c.id == last).scalar_subquery()
        same = (API_KEYS.c.created_at == since) & (API_KEYS.c.id < last)
        statement = statement.where(or_(API_KEYS.c.created_at < since, same))
    with engine.execution_options(**READ_ONLY).connect() as connection:
        keys = [_key_of(row) for row in connection.execute(statement).mappings()]
    more = len(keys) > limit
    return Page(keys[:limit], make_cursor(keys[limit - 1].id) if more else None)


def revoke_key(engine: Engine, key_id: str) -> ApiKey | None:
    """Revoke a key; idempotent. None if there is no such key."""
    live = update(API_KEYS).where(API_KEYS.c.id == key_id, API_KEYS.c.revoked_at.is_(None))
    with engine.begin() as connection:
        connection.execute(live.values(revoked_at=from_now()))
        found = connection.execute(select(*_COLUMNS).where(API_KEYS.c.id == key_id))
        row = found.mappings().one_or_none()
    return None if row is None else _key_of(row)


def _random(letters: int) -> str:
    return "".join(secrets.choice(CROCKFORD) for _ in range(letters))


def _key_of(row: RowMapping) -> ApiKey:
    return ApiKey(**{name: row[name] for name in ApiKey.__dataclass_fields__})
