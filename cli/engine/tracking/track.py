"""`slimgpt track`: a finished report, or a service's jobs, as runs in MLflow."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.client.http import DEFAULT_URL, ApiKey, UnreachableError, Url, connect
from cli.engine.reports import JOB
from cli.engine.tracking import report_source
from cli.engine.tracking.tracker import Tracker
from cli.options.shared import Json
from cli.terminal.exit_status import fail
from slimgpt.errors import SlimGPTError

if TYPE_CHECKING:
    from slimgpt.report.tracking.sink import Logged, Place

EXPERIMENT = "slimgpt"

To = Annotated[
    str,
    typer.Option(
        "--to",
        envvar="MLFLOW_TRACKING_URI",
        metavar="URI",
        help="Tracking server, such as http://127.0.0.1:5000.",
    ),
]
Experiment = Annotated[
    str,
    typer.Option(
        "--experiment",
        envvar="MLFLOW_EXPERIMENT_NAME",
        help="Experiment of the run; made if there is none.",
    ),
]
Register = Annotated[
    str | None,
    typer.Option("--register", metavar="NAME", help="Registered model that gets a version."),
]


def track(  # noqa: PLR0913 - one parameter an option
    place: Annotated[
        str | None,
        typer.Argument(
            metavar="[PLACE]",
            help="Folder of a checkpoint or of a finished run, a report.json, or a job's id.",
        ),
    ] = None,
    *,
    to: To,
    experiment: Experiment = EXPERIMENT,
    register: Register = None,
    checkpoint: Annotated[
        bool, typer.Option("--checkpoint", help="Send the checkpoint's files too.")
    ] = False,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            metavar="URI",
            help="Where the registered version's files lie already; they are not sent then.",
        ),
    ] = None,
    jobs: Annotated[
        bool,
        typer.Option("--jobs", help="In place of PLACE: every job of the service that succeeded."),
    ] = False,
    every: Annotated[
        float | None,
        typer.Option(
            min=1.0,
            metavar="SECONDS",
            help="With --jobs: look again so often, until stopped.  [default: look once]",
        ),
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Log a report to MLflow as a run: parameters, metrics, files. Repeated, it adds nothing."""
    if jobs == (place is not None):
        fail("name a PLACE, or --jobs for all jobs of the service", 2)
    if not jobs and every is not None:
        fail("--every goes with --jobs: a finished report does not change", 2)
    if jobs and source is not None:
        fail("--source is one model's address, which many jobs cannot share", 2)
    from slimgpt.report.tracking import sink

    target = sink.Place(to, experiment, register or "", source or "")
    whole = checkpoint or (bool(register) and not source)
    try:
        sink.require()
        if place is None:
            with connect(url, api_key) as service:
                _follow(
                    Tracker(service, target, whole=whole, failed=_warn), every, register, as_json
                )
            return
        logged = _one(place, target, whole, url, api_key)
    except SlimGPTError as error:
        fail(str(error))
    if as_json:
        typer.echo(json.dumps({"items": [one._asdict() for one in logged]}))
    for one in logged if not as_json else ():
        typer.echo(_line(one, register))


def _one(place: str, target: Place, whole: bool, url: str, api_key: str | None) -> list[Logged]:
    if JOB.fullmatch(place) and not Path(place).exists():
        with (
            connect(url, api_key) as service,
            report_source.of_job(service, place, whole=whole) as one,
        ):
            return one.log(target, whole=whole)
    return report_source.of_path(Path(place)).log(target, whole=whole)


def _follow(tracker: Tracker, every: float | None, register: str | None, as_json: bool) -> None:
    """Look, once or again and again; a line for each run that is new.

    Raises:
        typer.Exit: it looked once, and not all could be logged.
        ServiceError: the service refuses, or it looked once and nothing answers.
    """
    from slimgpt.report.tracking.sink import TrackingError

    while True:
        try:
            for one in tracker.look():
                if one.new or every is None:
                    typer.echo(json.dumps(one._asdict()) if as_json else _line(one, register))
        except (UnreachableError, TrackingError) as error:
            if every is None:
                raise
            typer.echo(f"warning: {error}; next look in {every:g} s", err=True)
        if every is None:
            raise typer.Exit(int(tracker.behind))
        time.sleep(every)


def _warn(job: str, why: str) -> None:
    typer.echo(f"warning: {job} is not logged: {why}", err=True)


def _line(logged: Logged, register: str | None) -> str:
    what = "logged" if logged.new else "was logged before, nothing is missing"
    version = f"; {register} version {logged.version}" if logged.version else ""
    return f"run {logged.run_id} of experiment {logged.experiment_id}: {what}{version}"
