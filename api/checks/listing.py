"""Lists the model folders and text files below a root, without reading any of them.

The walk is bounded in depth and in entries; links are followed only where they stay below the root,
and no folder is looked into twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CONFIG = "config.json"
LONGEST = 250
"""Characters of a path that `local:PATH` can have in a request."""
DEEPEST = 4
MOST_ENTRIES = 20_000
"""Entries of folders that one walk looks at."""
TEXTS = (
    *(".txt", ".text", ".md", ".raw", ".tokens"),
    *(".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".tab", ".parquet"),
)
"""Name endings of the formats that jobs read, each also with `.gz`."""


@dataclass(frozen=True)
class TextFile:
    """A text below the texts root: its path there, and its size."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Listing:
    """Names in order; `complete`: the walk was not cut short."""

    models: tuple[str, ...] = ()
    texts: tuple[TextFile, ...] = ()
    complete: bool = True


def models(root: Path) -> Listing:
    """The folders with a `config.json` below the root; nothing within them is looked at."""
    walk = _Walk(root)
    found = tuple(sorted(filter(nameable, walk.models())))
    return Listing(models=found, complete=walk.left > 0)


def texts(root: Path) -> Listing:
    """The files below the root whose names end as those of texts, and which are not empty."""
    walk = _Walk(root)
    found = sorted((text for text in walk.texts() if nameable(text.name)), key=lambda t: t.name)
    return Listing(texts=tuple(found), complete=walk.left > 0)


class _Walk:
    """One bounded walk; a missing or unreadable folder has no entries."""

    def __init__(self, root: Path) -> None:
        self.left = MOST_ENTRIES
        try:
            self._root: Path | None = root.resolve(strict=True)
        except (OSError, RuntimeError):
            self._root = None
        self._seen = {self._root}

    def models(self, below: str = "", depth: int = 0) -> Iterator[str]:
        entries = self._entries(below)
        if below and CONFIG in entries:
            yield below
            return
        for name in entries:
            if depth < DEEPEST and self._new_folder(path := _joined(below, name)):
                yield from self.models(path, depth + 1)

    def texts(self, below: str = "", depth: int = 0) -> Iterator[TextFile]:
        for name in self._entries(below):
            path = _joined(below, name)
            if name.lower().removesuffix(".gz").endswith(TEXTS):
                if size := self._size(path):
                    yield TextFile(path, size)
            elif depth < DEEPEST and self._new_folder(path):
                yield from self.texts(path, depth + 1)

    def _entries(self, below: str) -> list[str]:
        if self._root is None or self.left <= 0:
            return []
        names = []
        try:
            with os.scandir(self._root / below) as entries:
                for entry in entries:
                    self.left -= 1
                    if self.left <= 0:
                        break
                    # What a request cannot name, or a person did not mean to show.
                    if entry.name.isprintable() and not entry.name.startswith("."):
                        names.append(entry.name)
        except OSError:
            return []
        return sorted(names)

    def _new_folder(self, path: str) -> bool:
        """Whether it is a folder that the walk has not come to, by this path or by a link."""
        real = self._real(path)
        if real is None or real in self._seen or not real.is_dir():
            return False
        self._seen.add(real)
        return True

    def _size(self, path: str) -> int:
        real = self._real(path)
        try:
            return real.stat().st_size if real is not None and real.is_file() else 0
        except OSError:
            return 0

    def _real(self, path: str) -> Path | None:
        assert self._root is not None
        try:
            real = (self._root / path).resolve(strict=True)
        except (OSError, RuntimeError):
            return None
        return real if real.is_relative_to(self._root) else None


def _joined(below: str, name: str) -> str:
    return f"{below}/{name}" if below else name


def nameable(path: str) -> bool:
    """Whether a request can name the path as `local:PATH`."""
    return "\\" not in path and len(path) <= LONGEST
