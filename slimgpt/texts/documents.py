"""`Documents`: texts that are counted at once and read one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence


class Documents:
    """Texts with a length and random access; a text is read only when it is asked for.

    Args:
        count: how many there are.
        read: gives the text with an index in [0, count).
        description: what they are, for the report, in a few words and without paths.
    """

    def __init__(self, count: int, read: Callable[[int], str], description: str) -> None:
        self._count = count
        self._read = read
        self.description = description

    @classmethod
    def of(cls, texts: Sequence[str], description: str) -> Documents:
        """Documents that are in memory already."""
        return cls(len(texts), texts.__getitem__, description)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < self._count:
            raise IndexError(f"document {index} of {self._count}")
        return self._read(index)

    def __iter__(self) -> Iterator[str]:
        return (self._read(index) for index in range(self._count))
