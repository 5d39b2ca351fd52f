"""`Sweep`: reads the `report.json` of a job with several ratios."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from slimgpt.report import document
from slimgpt.report.document import SWEEP, Document, LenientModel, ReportError, validated

if TYPE_CHECKING:
    from slimgpt.report.comparison.rows import Entry


class Point(LenientModel):
    """One model of a sweep: ratio, folder and report."""

    ratio: float
    folder: str
    report: Document


class Sweep(LenientModel):
    """The report of a sweep.

    Attributes:
        verdict: summary, one or two sentences.
        raw: the JSON object that it was read from.
    """

    verdict: str = ""
    points: list[Point]
    raw: dict[str, Any] = Field({}, exclude=True)

    def entries(self, name: str = "") -> list[Entry]:
        """The models for a comparison, named by their folders below `name`."""
        from slimgpt.report.comparison.rows import Entry  # the pages' templates, which clients lack

        return [
            Entry("/".join(filter(None, (name, point.folder))), point.report)
            for point in self.points
        ]


def is_one(content: Any) -> bool:
    """Whether the JSON of a report is a sweep's."""
    return isinstance(content, dict) and content.get("kind") == SWEEP


def of(content: Any, name: str) -> Sweep:
    """A sweep's report from its JSON.

    Raises:
        ReportError: the JSON is not a sweep's report.
    """
    return validated(Sweep, content, name).model_copy(update={"raw": content})


def read(place: Path) -> Sweep:
    """A sweep's report from a file or a folder.

    Raises:
        ReportError: there is none, or it is the report of one model.
    """
    content = document.content(place)
    if not is_one(content):
        raise ReportError(
            f"{place} is the report of one model, not of a sweep", hint="use `slimgpt report`"
        )
    return of(content, str(place))
