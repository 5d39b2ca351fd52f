"""What counts as English."""

from __future__ import annotations

import pytest

from examples.train.prose import paragraphs

KEPT = {
    "Return the number of\n    items in the queue.": "Return the number of items in the queue.",
    "* Closes the file, if it is still open.": "Closes the file, if it is still open.",
    "Wait until the :class:`~queue.Queue` is empty.": "Wait until the queue.Queue is empty.",
    "The ``next`` line of the *file* is read.": "The next line of the file is read.",
    "An example of how to use it::": "An example of how to use it:",
    "check that the lock is released": "check that the lock is released.",
}
DROPPED = [
    ">>> divmod(7, 2) returns the pair of the quotient and the rest.",
    ".. versionadded:: 3.4 of the module, with all of its functions.",
    ":param name: the name of the file that is to be read.",
    "name      the name of the file\nsize      the size of it in bytes",
    "The table follows.\n==================",
    "x = self.items[key] if key in self.items else y = None.",
    "Too short.",
    "def f(self, *args, **kwargs): return self.g(args, kwargs).",
    "Das ist kein englischer Satz, wie überall zu lesen ist.",
    "TODO: find out why this is the case on some platforms.",
]


@pytest.mark.parametrize(("block", "expected"), KEPT.items())
def test_english_is_kept_without_its_markup(block: str, expected: str) -> None:
    assert list(paragraphs(block)) == [expected]


@pytest.mark.parametrize("block", DROPPED)
def test_code_tables_and_fragments_are_dropped(block: str) -> None:
    assert list(paragraphs(block)) == []


def test_paragraphs_are_told_apart_by_blank_lines() -> None:
    text = "The first line is here\nand goes on.\n\n>>> code\n\nThe second one is here, after it."
    assert list(paragraphs(text)) == [
        "The first line is here and goes on.",
        "The second one is here, after it.",
    ]
