"""Uploaded texts as the API answers them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from slimgpt.client.models.base import Model, Rows


class SetLinks(Model):
    """Paths of the set."""

    self: str
    content: str


class CalibrationSet(Model):
    """An uploaded text; `source` is its name in jobs, `size` is in bytes."""

    id: str
    owner: str
    name: str
    source: str
    format: Literal["jsonl", "csv", "text"]
    documents: int
    size: int
    sha256: str
    created_at: datetime
    links: SetLinks


class CalibrationSetPage(Model):
    """Some sets, newest first; `next_cursor` asks for the next page, None: this is the last."""

    items: list[CalibrationSet]
    next_cursor: str | None

    def rows(self) -> Rows:
        """As a table."""
        header = ("source", "documents", "bytes", "created", "name")
        rows = [
            (one.source, f"{one.documents:,}", f"{one.size:,}",
             f"{one.created_at:%Y-%m-%d %H:%M}", one.name)
            for one in self.items
        ]  # fmt: skip
        return Rows(header, rows, frozenset({1, 2}))
