"""The page of the report's schema, from `slimgpt.report.schema` as it is published."""

from __future__ import annotations

import json
from pathlib import Path

from manual.reference import schemas

HEAD = """# The report's schema

`report.json`, field by field, generated from its [JSON schema](../report-schema.json). How to read
one: [read a report](../how-to/read-a-report.md); what its numbers mean: [the
engine](../engine.md#numbers-in-the-report).

"""


def page(root: Path) -> str:
    """The page, in Markdown.

    Args:
        root: of the repository.
    """
    read = json.loads((root / "docs" / "report-schema.json").read_text(encoding="utf-8"))
    parts = read.pop("$defs")
    text = HEAD + "## The document\n\n" + schemas.section(read)
    return text + "\n## Its parts\n\n" + schemas.sections(parts)
