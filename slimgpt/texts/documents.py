"""`Documents`: a sequence of texts with a length and lazy random access; rows parsed to texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from slimgpt.errors import CalibrationError

T = TypeVar("T")
Parse = Callable[[object, str | None], T]
"""Function of a row and the requested field; a false result is an empty document."""
FIELD_HINT = "name the field that holds the text (text_field)"


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


def parsed_row(parse: Parse[T], row: object, text_field: str | None, where: str) -> T:
    """A row of a file or data set, parsed.

    Args:
        where: the row's place, for the error.

    Raises:
        CalibrationError: the row is invalid.
    """
    try:
        return parse(row, text_field)
    except ValueError as error:
        raise CalibrationError(f"{where}: {error}", hint=FIELD_HINT) from error
