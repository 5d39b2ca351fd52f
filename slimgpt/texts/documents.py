"""`Documents`: a sequence of texts with a length and lazy random access."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Documents(Generic[T]):
    """Documents (texts or training rows) with a length and random access, read on access.

    Args:
        count: number of documents.
        read: returns the document of an index in [0, count).
        description: short description for the report, without paths.
    """

    def __init__(self, count: int, read: Callable[[int], T], description: str) -> None:
        self._count = count
        self._read = read
        self.description = description

    @classmethod
    def of(cls, texts: Sequence[T], description: str) -> Documents[T]:
        """Documents that are already in memory."""
        return cls(len(texts), texts.__getitem__, description)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> T:
        if not 0 <= index < self._count:
            raise IndexError(f"document {index} of {self._count}")
        return self._read(index)

    def __iter__(self) -> Iterator[T]:
        return (self._read(index) for index in range(self._count))
