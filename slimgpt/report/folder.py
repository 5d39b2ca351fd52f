"""Writes `report.html` and the model card into a published folder."""

from __future__ import annotations

from pathlib import Path

from slimgpt.machine import disk
from slimgpt.report import document, html_page, model_card, sweep
from slimgpt.report.comparison.page import page
from slimgpt.report.comparison.rows import rows

PAGE = "report.html"


def write(folder: Path) -> None:
    """Write both into a checkpoint's folder, from the report in that folder.

    Raises:
        ReportError: the folder has no report.
        StorageError: the disk is full or cannot be written.
    """
    report = document.read(folder / document.REPORT)
    disk.write_text(folder / PAGE, html_page.render(report))
    disk.write_text(folder / model_card.CARD, model_card.render(report, folder))


def write_sweep(folder: Path) -> None:
    """Write the comparison into a sweep's folder, from the report in that folder.

    Raises:
        ReportError: the folder has no report of a sweep.
        StorageError: the disk is full or cannot be written.
    """
    report = sweep.read(folder / document.REPORT)
    disk.write_text(folder / PAGE, page(rows(report.entries()), report.verdict))
