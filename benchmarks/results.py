"""Where measurements are written: one JSON file for programs, one Markdown table for people."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "results"


def write(
    name: str,
    settings: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    shown: Sequence[Mapping[str, Any]] | None = None,
    after: str = "",
) -> Path:
    """Write `NAME.json` and `NAME.md`; returns the latter.

    Args:
        shown: what the table shows in place of the rows; all have the keys of the first.
        after: Markdown below the table.
    """
    FOLDER.mkdir(exist_ok=True)
    day = datetime.now(UTC).date().isoformat()
    versions = {"python": platform.python_version()}
    versions |= {package: version(package) for package in ("torch", "transformers")}
    document = {"date": day, "versions": versions, "settings": {**settings}, "rows": [*rows]}
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    said = ", ".join(f"{key} {value}" for key, value in {**versions, **settings}.items())
    path = path.with_suffix(".md")
    text = f"# {name}, {day}\n\n{said}\n\n{table(rows if shown is None else shown)}{after}"
    path.write_text(text, encoding="utf-8")
    return path


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table, numbers to four digits."""
    lines = [list(rows[0]), ["---"] * len(rows[0])]
    lines += [[_cell(value) for value in row.values()] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
