"""`slimgpt track`: a finished report as a run in MLflow."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from cli.client import DEFAULT_URL, ApiKey, Json, Url, fail
from cli.reports import JOB, found_at
from slimgpt.errors import SlimGPTError

if TYPE_CHECKING:
    from slimgpt.pages.document import Document
    from slimgpt.pages.sweep import Sweep
    from slimgpt.tracking.sink import Logged, Subject

EXPERIMENT = "slimgpt"
REPORT = "report.json"
FILES = (REPORT, "report.html", "README.md")

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
    str, typer.Option("--experiment", help="Experiment of the run; made if there is none.")
]
Register = Annotated[
    str | None,
    typer.Option("--register", metavar="NAME", help="Registered model that gets a version."),
]


def track(  # noqa: PLR0913 - one parameter an option
    place: Annotated[
        str,
        typer.Argument(
            metavar="PLACE",
            help="Folder of a checkpoint or of a finished run, a report.json, or a job's id.",
        ),
    ],
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
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Log a report to MLflow as a run: parameters, metrics, files. Repeated, it adds nothing."""
    from slimgpt.tracking import record, sink

    target = sink.Place(to, experiment, register or "", source or "")
    whole = checkpoint or (bool(register) and not source)
    try:
        found = found_at(place, url, api_key)
        with TemporaryDirectory(prefix="slimgpt-track-") as spare:
            home = _home(place, found, Path(spare))
            logged = [
                sink.log(record.of(one), _subject(home, part, one, whole), target)
                for part, one in _parts(found)
            ]
    except SlimGPTError as error:
        fail(str(error))
    if as_json:
        typer.echo(json.dumps({"items": [one._asdict() for one in logged]}))
    for one in logged if not as_json else ():
        typer.echo(_said(one, target.register))


class Home(NamedTuple):
    """Where a report and its files lie; `job`: the id of the service's, if it is of one."""

    folder: Path
    key: str
    job: str


def _home(place: str, found: Document | Sweep, spare: Path) -> Home:
    """Where the files are.

    Args:
        spare: an empty folder, for a job's report, which has no file here.
    """
    from slimgpt.pages.document import find

    if JOB.fullmatch(place) and not Path(place).exists():
        for part, one in _parts(found):
            (spare / part).mkdir(exist_ok=True)
            (spare / part / REPORT).write_text(json.dumps(one.raw), encoding="utf-8")
        return Home(spare, place, place)
    file = find(Path(place))
    return Home(file.parent, hashlib.sha256(file.read_bytes()).hexdigest(), "")


def _parts(found: Document | Sweep) -> list[tuple[str, Document]]:
    """The models of a report, by their folders; one model lies in the report's own."""
    from slimgpt.pages.sweep import Sweep

    if not isinstance(found, Sweep):
        return [("", found)]
    raw = [point["report"] for point in found.raw["points"]]
    return [
        (point.folder, point.report.model_copy(update={"raw": content}))
        for point, content in zip(found.points, raw, strict=True)
    ]


def _subject(home: Home, part: str, document: Document, whole: bool) -> Subject:
    """What is logged, and its files.

    Args:
        part: folder of the model below the report's.
        whole: whether the checkpoint goes along.

    Raises:
        TrackingError: it is to go along, and is not here.
    """
    from slimgpt.tracking.sink import Subject, TrackingError

    folder = home.folder / part
    if whole and not (folder / "config.json").is_file():
        raise TrackingError(
            f"{home.job or folder} holds no checkpoint, whose files were to be sent",
            hint="`slimgpt download JOB` fetches one; with --source, only an address is registered",
        )
    name = home.job or f"{home.folder.resolve().name}-{document.model.ratio_achieved:.0%}"
    return Subject(
        key=f"{home.key}/{part}".rstrip("/"),
        name=f"{name}/{part}".rstrip("/"),
        job=home.job,
        files=[folder / name for name in FILES if (folder / name).is_file()],
        checkpoint=folder if whole else None,
    )


def _said(logged: Logged, register: str) -> str:
    what = "logged" if logged.new else "was logged before, nothing is missing"
    version = f"; {register} version {logged.version}" if logged.version else ""
    return f"run {logged.run_id} of experiment {logged.experiment_id}: {what}{version}"
