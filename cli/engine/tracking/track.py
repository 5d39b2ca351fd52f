"""`slimgpt track`: a finished report, or a service's jobs, as runs in MLflow."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.client.connection import Connection
from cli.engine.reports import JOB
from cli.engine.tracking import report_source
from cli.engine.tracking.tracker import Tracker
from cli.options.groups import option
from cli.options.shared import Json
from cli.terminal.exit_status import expected, fail

if TYPE_CHECKING:
    from slimgpt.report.tracking.mlflow_run import Destination, LoggedRun


@dataclass(frozen=True, kw_only=True)
class TrackingTarget:
    """Where runs are logged, and what of a model goes along."""

    to: Annotated[
        str,
        option(
            "--to",
            "Tracking server, such as http://127.0.0.1:5000.",
            envvar="MLFLOW_TRACKING_URI",
            metavar="URI",
        ),
    ]
    experiment: Annotated[
        str,
        option(
            "--experiment",
            "Experiment of the run; created if there is none.",
            envvar="MLFLOW_EXPERIMENT_NAME",
        ),
    ] = "slimgpt"
    register: Annotated[
        str | None, option("--register", "Registered model that gets a version.", metavar="NAME")
    ] = None
    checkpoint: Annotated[bool, option("--checkpoint", "Send the checkpoint's files too.")] = False
    source: Annotated[
        str | None,
        option(
            "--source",
            "Where the registered version's files already are; they are not sent then.",
            metavar="URI",
        ),
    ] = None

    @property
    def whole(self) -> bool:
        """Whether the checkpoint's files are sent."""
        return self.checkpoint or (bool(self.register) and not self.source)


@dataclass(frozen=True, kw_only=True)
class JobSelection:
    """Jobs of a service, instead of one report."""

    jobs: Annotated[
        bool, option("--jobs", "Instead of PLACE: every succeeded job of the service.")
    ] = False
    every: Annotated[
        float | None,
        option(
            "--every",
            "With --jobs: repeat at this interval until stopped.",
            "once",
            min=1.0,
            metavar="SECONDS",
        ),
    ] = None


def track(
    place: Annotated[
        str | None,
        typer.Argument(
            metavar="PLACE",
            help="Folder of a checkpoint or of a finished run, a report.json, or a job's id.",
        ),
    ] = None,
    *,
    target: TrackingTarget,
    selection: JobSelection,
    connection: Connection,
    as_json: Json = False,
) -> None:
    """Log a report to MLflow as a run.

    A run has parameters, metrics and files. Repeated, the command adds nothing.

    \b
    Example:
      slimgpt track smaller --to http://127.0.0.1:5000 --register tiny
    """
    _refuse_contradictions(place, target, selection)
    from slimgpt.report.tracking import mlflow_run

    where = mlflow_run.Destination(
        target.to, target.experiment, target.register or "", target.source or ""
    )
    with expected():
        mlflow_run.require()
        if place is None:
            with connection.open() as client:
                tracker = Tracker(client, where, whole=target.whole, failed=_warn)
                _follow(tracker, selection.every, target.register, as_json)
            return
        logged = _one(place, where, target.whole, connection)
    if as_json:
        typer.echo(json.dumps({"items": [one._asdict() for one in logged]}))
    for one in logged if not as_json else ():
        typer.echo(_said(one, target.register))


def _refuse_contradictions(
    place: str | None, target: TrackingTarget, selection: JobSelection
) -> None:
    if selection.jobs == (place is not None):
        fail("give PLACE, or --jobs for all jobs of the service", 2)
    if not selection.jobs and selection.every is not None:
        fail("--every needs --jobs: a finished report does not change", 2)
    if selection.jobs and target.source is not None:
        fail("--source is the address of one model and cannot be used with --jobs", 2)


def _one(place: str, target: Destination, whole: bool, connection: Connection) -> list[LoggedRun]:
    if JOB.fullmatch(place) and not Path(place).exists():
        with connection.open() as client, report_source.of_job(client, place, whole=whole) as one:
            return one.log(target, whole=whole)
    return report_source.of_path(Path(place)).log(target, whole=whole)


def _follow(tracker: Tracker, every: float | None, register: str | None, as_json: bool) -> None:
    """Log once, or at intervals; print a line for each new run.

    Raises:
        typer.Exit: without an interval; status 1 if not all jobs could be logged.
        ClientError: the service refuses, or does not answer and there is no interval.
    """
    from slimgpt.client import UnavailableError, UnreachableError
    from slimgpt.report.tracking.mlflow_run import TrackingError

    while True:
        try:
            for one in tracker.look():
                if one.new or every is None:
                    typer.echo(json.dumps(one._asdict()) if as_json else _said(one, register))
        except (UnreachableError, UnavailableError, TrackingError) as error:
            if every is None:
                raise
            typer.echo(f"warning: {error}; next try in {every:g} s", err=True)
        if every is None:
            raise typer.Exit(int(tracker.behind))
        time.sleep(every)


def _warn(job: str, why: str) -> None:
    typer.echo(f"warning: {job} is not logged: {why}", err=True)


def _said(logged: LoggedRun, register: str | None) -> str:
    what = "logged" if logged.new else "already logged, nothing is missing"
    version = f"; {register} version {logged.version}" if logged.version else ""
    return f"run {logged.run_id} of experiment {logged.experiment_id}: {what}{version}"
