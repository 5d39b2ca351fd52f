"""Pieces of Markdown: tables, cells, code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, on a narrow screen one block a row; nothing without rows.

    Args:
        rows: cells may have line breaks and bars.
    """
    lines = ["| " + " | ".join(map(cell, row)) + " |" for row in rows]
    if not lines:
        return ""
    top = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(['<div class="fields" markdown>\n', *top, *lines, "\n</div>"]) + "\n"


def cell(text: str) -> str:
    """Text that fits into a cell: one line, its bars escaped, its angle brackets no HTML."""
    pieces = re.split(r"(`[^`]*`)", " ".join(text.split()).replace("|", r"\|"))
    return "".join(
        piece if piece.startswith("`") else piece.replace("<", "&lt;") for piece in pieces
    )


def code(text: str) -> str:
    """Inline code; nothing for an empty text."""
    return f"`{text}`" if text else ""


def fenced(text: str, language: str) -> str:
    """A block of code, in a fence that is longer than any in the text."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}\n"
