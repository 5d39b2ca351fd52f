"""`ReportSource`: a source of a report (folder, file or job), and its MLflow runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from cli.engine.reports import read_report

if TYPE_CHECKING:
    from slimgpt.client import Client
    from slimgpt.report.document import Document
    from slimgpt.report.sweep import Sweep
    from slimgpt.report.tracking.mlflow_run import Destination, LoggedRun, TrackedModel

REPORT = "report.json"
FILES = (REPORT, "report.html", "README.md")


class ReportSource(NamedTuple):
    """Location of a report and its files.

    Attributes:
        folder: of the report.
        key: identifies its runs in MLflow.
        job: id of the service's job; empty if there is none.
    """

    folder: Path
    key: str
    job: str = ""

    def log(self, place: Destination, *, whole: bool) -> list[LoggedRun]:
        """Log every model of the report.

        Args:
            place: where to log.
            whole: whether the checkpoint's files are sent.

        Raises:
            SlimGPTError: the report cannot be read, a checkpoint is missing, or MLflow refuses.
        """
        from slimgpt.report.tracking import mlflow_run, record

        return [
            mlflow_run.log(record.of(one), self._subject(part, one, whole=whole), place)
            for part, one in _parts(read_report(self.folder))
        ]

    def _subject(self, part: str, document: Document, *, whole: bool) -> TrackedModel:
        from slimgpt.report.tracking.mlflow_run import TrackedModel, TrackingError

        folder = self.folder / part
        if whole and not (folder / "config.json").is_file():
            raise TrackingError(
                f"{self.job or folder} has no checkpoint whose files could be sent",
                hint="give the checkpoint's folder; --source registers an address without files",
            )
        name = self.job or f"{self.folder.resolve().name}-{document.model.ratio_achieved:.0%}"
        return TrackedModel(
            key=f"{self.key}/{part}".rstrip("/"),
            name=f"{name}/{part}".rstrip("/"),
            job=self.job,
            files=[folder / name for name in FILES if (folder / name).is_file()],
            checkpoint=folder if whole else None,
        )


def of_path(path: Path) -> ReportSource:
    """The report in a folder, or of a report's file.

    Raises:
        SlimGPTError: there is no report.
    """
    from slimgpt.report.document import find

    file = find(path)
    return ReportSource(file.parent, hashlib.sha256(file.read_bytes()).hexdigest())


@contextmanager
def of_job(client: Client, job_id: str, *, whole: bool) -> Iterator[ReportSource]:
    """A job of the service, its files fetched and checked for as long as the context lasts.

    Args:
        whole: also fetch the checkpoints, not only the reports.

    Raises:
        ClientError: there is no such job, or it has no files.
    """
    files = client.jobs.artifacts(job_id)
    wanted = [file for file in files if whole or PurePosixPath(file.path).name in FILES]
    with TemporaryDirectory(prefix="slimgpt-track-") as spare:
        folder = Path(spare) / job_id
        client.jobs.download(job_id, folder, files=wanted)
        yield ReportSource(folder, job_id, job_id)


def _parts(found: Document | Sweep) -> list[tuple[str, Document]]:
    """The models of a report, by their folders; one model lies in the report's own."""
    from slimgpt.report.sweep import Sweep

    if not isinstance(found, Sweep):
        return [("", found)]
    raw = [point["report"] for point in found.raw["points"]]
    return [
        (point.folder, point.report.model_copy(update={"raw": content}))
        for point, content in zip(found.points, raw, strict=True)
    ]
