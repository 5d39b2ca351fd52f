"""The service itself as the API answers it: its jobs in numbers, problems, workers and keys."""

from __future__ import annotations

from datetime import datetime

from slimgpt.client.models.base import Model, Rows


class Overview(Model):
    """Who the key belongs to, whether they see all jobs, and the number of jobs by status."""

    owner: str
    admin: bool
    jobs: dict[str, int]


class ProblemKind(Model):
    """What a problem's type means, and what to do about it."""

    type: str
    status: int
    title: str
    remedy: str


class Worker(Model):
    """A worker: `idle`, `busy`, or `silent` for a minute or more.

    Its `host` and `pid` are None unless the caller is an admin, its `job` unless they see the job.
    """

    id: str
    status: str
    device: str
    job: str | None
    silent_seconds: float
    started_at: datetime
    version: str
    host: str | None
    pid: int | None


class Key(Model):
    """An API key, without the key itself. Times are in UTC; `last_used_at` is to the minute."""

    id: str
    owner: str
    name: str
    admin: bool
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


class KeyWithText(Key):
    """A new key, with the key itself, which is not shown again."""

    key: str


class KeyPage(Model):
    """Some keys, newest first; `next_cursor` asks for the next page, None: this is the last."""

    items: list[Key]
    next_cursor: str | None

    def rows(self) -> Rows:
        """As a table."""
        header = ("id", "owner", "admin", "created", "revoked", "name")
        rows = [
            (one.id, one.owner, "yes" if one.admin else "no", f"{one.created_at:%Y-%m-%d %H:%M}",
             f"{one.revoked_at:%Y-%m-%d %H:%M}" if one.revoked_at else "", one.name)
            for one in self.items
        ]  # fmt: skip
        return Rows(header, rows)
