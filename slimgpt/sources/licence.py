"""Detects the licence of a model folder."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

LONGEST = 100
CARD = 256 << 10  # characters of a card that are read
TITLE = 4 << 10
_FRONT_MATTER = re.compile(r"\A\s*---\r?\n(.*?)\r?\n---", re.DOTALL)


def of_folder(folder: Path) -> str | None:
    """The licence in the model card, else the first line of the LICENSE file, else None."""
    return _of_card(folder / "README.md") or _of_files(folder)


def _of_card(card: Path) -> str | None:
    if not card.is_file():  # reading a pipe would block
        return None
    try:
        with card.open(encoding="utf-8", errors="replace") as file:
            front = _FRONT_MATTER.match(file.read(CARD))
        data = yaml.safe_load(front[1]) if front else None
    except (OSError, yaml.YAMLError, ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    licence = data.get("license")
    if licence == "other":  # then the hub has the name in `license_name`
        licence = data.get("license_name") or licence
    names = licence if isinstance(licence, list) else [licence]
    # Strings only: a YAML list may contain itself, and its text would fill the memory.
    return ", ".join(name for name in names if isinstance(name, str) and name)[:LONGEST] or None


def _of_files(folder: Path) -> str | None:
    for path in sorted(folder.glob("LICEN[SC]E*")):
        if path.is_file():
            with path.open(encoding="utf-8", errors="replace") as file:
                lines = file.read(TITLE).splitlines()
            title = next((line.strip() for line in lines if line.strip()), "")
            if title:
                return title[:LONGEST]
    return None
