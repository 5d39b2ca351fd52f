"""`log`: writes a record and its files to MLflow idempotently.

1. A run that carries this key is looked for; only where there is none is one made, key and all.
2. Parameters, metrics, tags. Metrics bear the time of the run's start: MLflow keeps one of several
   that agree in name, step, time and value, so that half a batch sent twice is there once.
3. Files; those that are there already are not sent again.
4. The version of the registered model, unless the run has one.
5. Last, the run is called finished. One that stays `RUNNING` is whole only after a repetition.

The environment says who we are to the server, by MLflow's own variables.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from slimgpt.errors import SlimGPTError
from slimgpt.report.tracking.record import Record

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY = "slimgpt.key"
JOB = "slimgpt.job"
SENT = "slimgpt.checkpoint"
REGISTERED = "slimgpt.registered"
CHECKPOINT = "checkpoint"
WHOLE = "attributes.status = 'FINISHED'"
METRICS_PER_BATCH = 1000
TEXTS_PER_BATCH = 20  # of 100: a request is at most a megabyte, and a sign may take six bytes of it
INSTALL = "pip install 'slimgpt-service[mlflow]'"
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is ours, and may be read as JSON
}
"""Of MLflow's own variables, where nobody said otherwise."""
T = TypeVar("T")


class TrackingError(SlimGPTError):
    """MLflow cannot be reached, or refuses."""

    code = "tracking-failed"


@dataclass(frozen=True)
class Destination:
    """Where to log to.

    Attributes:
        uri: of the tracking server, as MLflow reads it.
        experiment: its name; made if there is none.
        register: name of a registered model that gets a version; empty: none.
        source: where that version's files lie, such as `s3://…`; empty: among the run's files.
    """

    uri: str
    experiment: str
    register: str = ""
    source: str = ""


@dataclass(frozen=True)
class TrackedModel:
    """What a run is of.

    Attributes:
        key: by which the run is found again.
        name: the run's, for people.
        job: the service's job, if there was one.
        files: of the report, for the run's top folder.
        checkpoint: folder whose files go along; None: they don't.
    """

    key: str
    name: str
    job: str = ""
    files: Sequence[Path] = ()
    checkpoint: Path | None = None


class LoggedRun(NamedTuple):
    """What became of it. `new`: no run was there before; `version`: of the registered model."""

    run_id: str
    experiment_id: str
    new: bool
    version: str


def require() -> None:
    """See that MLflow is installed, before anything expensive.

    Raises:
        TrackingError: it is not; says how.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import mlflow  # noqa: F401
    except ImportError as error:
        raise TrackingError("MLflow is not installed here", hint=INSTALL) from error


def log(record: Record, subject: TrackedModel, place: Destination) -> LoggedRun:
    """Write a run, or what is missing of it.

    Raises:
        TrackingError: the server cannot be reached or refuses; what was written stays, and a
            repetition goes on from there.
    """
    with _client(place) as client:
        experiment = _experiment(client, place.experiment)
        run, new = _run(client, experiment, subject)
        finished = run.info.status == "FINISHED"
        if not finished:
            _write(client, run, record)
        _upload(client, run.info.run_id, subject)
        if subject.checkpoint is not None:
            client.set_tag(run.info.run_id, SENT, "sent")
        version = ""
        if place.register:
            version = _register(client, run, place, subject)
            client.set_tag(run.info.run_id, REGISTERED, place.register)
        if not finished:
            client.set_terminated(run.info.run_id)
    return LoggedRun(run.info.run_id, experiment, new, version)


def finished(place: Destination, *, whole: bool) -> Counter[str]:
    """How many models of every job of the service have all in the experiment that is asked for.

    Args:
        whole: their checkpoints, too.

    Raises:
        TrackingError: the server cannot be reached or refuses.
    """
    keys: set[tuple[str, str]] = set()
    with _client(place) as client:
        experiment = client.get_experiment_by_name(place.experiment)
        token, more = None, experiment is not None
        while more:
            page = client.search_runs(
                [experiment.experiment_id], WHOLE, max_results=METRICS_PER_BATCH, page_token=token
            )
            every = (run.data.tags for run in page)
            keys.update((t[JOB], t[KEY]) for t in every if JOB in t and _has(t, place, whole))
            token = page.token
            more = bool(token)
    return Counter(job for job, _ in keys)


def _has(tags: Mapping[str, str], place: Destination, whole: bool) -> bool:
    """Whether a run lacks nothing: neither its checkpoint nor its version."""
    registered = not place.register or tags.get(REGISTERED) == place.register
    return registered and (not whole or SENT in tags)


@contextmanager
def _client(place: Destination) -> Iterator[MlflowClient]:
    """A client; what it raises, which is nearly anything, in one line."""
    require()
    from mlflow import MlflowClient

    try:
        yield MlflowClient(tracking_uri=place.uri, registry_uri=place.uri)
    except SlimGPTError:
        raise
    except Exception as error:
        message = " ".join(str(error).split())[:500] or type(error).__name__
        raise TrackingError(
            f"MLflow at {place.uri}: {message}",
            hint="see that it runs and takes what is sent, then repeat: nothing is logged twice",
        ) from error


def _experiment(client: MlflowClient, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage != "active":
        raise TrackingError(
            f"the experiment {name!r} is deleted in MLflow", hint="restore it, or name another"
        )
    if found is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:  # somebody else was first
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


def _run(client: MlflowClient, experiment: str, subject: TrackedModel) -> tuple[Any, bool]:
    """The run with this key, and whether it had to be made."""
    wanted = f"tags.`{KEY}` = '{subject.key}'"
    found = client.search_runs(
        [experiment], wanted, max_results=1, order_by=["attributes.start_time ASC"]
    )
    if found:
        return found[0], False
    tags = {KEY: subject.key} | ({JOB: subject.job} if subject.job else {})
    return client.create_run(experiment, run_name=subject.name, tags=tags), True


def _write(client: MlflowClient, run: Any, record: Record) -> None:
    from mlflow.entities import Metric, Param, RunTag

    run_id, when = run.info.run_id, run.info.start_time
    parameters = [Param(name, value) for name, value in record.parameters.items()]
    tags = [RunTag(name, value) for name, value in record.tags.items()]
    metrics = [Metric(one.name, one.value, when, one.step) for one in record.metrics]
    for some in _batches(parameters, TEXTS_PER_BATCH):
        client.log_batch(run_id, params=some)
    for some in _batches(tags, TEXTS_PER_BATCH):
        client.log_batch(run_id, tags=some)
    for some in _batches(metrics, METRICS_PER_BATCH):
        client.log_batch(run_id, metrics=some)


def _batches(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), most):
        yield items[start : start + most]


def _upload(client: MlflowClient, run_id: str, subject: TrackedModel) -> None:
    _send(client, run_id, subject.files, "")
    if subject.checkpoint is not None:
        by_folder = groupby(_files(subject.checkpoint), key=lambda file: file.parent)
        for folder, files in by_folder:
            below = PurePosixPath(CHECKPOINT, folder.relative_to(subject.checkpoint).as_posix())
            _send(client, run_id, list(files), str(below))


def _files(checkpoint: Path) -> list[Path]:
    """A checkpoint's files, those of its further formats and adapters too, folder by folder."""
    found = (file for file in checkpoint.rglob("*") if file.is_file())
    return sorted(found, key=lambda file: (file.parent, file.name))


def _send(client: MlflowClient, run_id: str, files: Sequence[Path], folder: str) -> None:
    """Send the files that are not there yet, or not in that size."""
    there = {entry.path: entry.file_size for entry in client.list_artifacts(run_id, folder)}
    for file in files:
        path = f"{folder}/{file.name}" if folder else file.name
        if there.get(path) != file.stat().st_size:
            client.log_artifact(run_id, str(file), folder or None)


def _register(client: MlflowClient, run: Any, place: Destination, subject: TrackedModel) -> str:
    """The number of the run's version of the registered model, made if there is none."""
    from mlflow.exceptions import MlflowException

    run_id, name = run.info.run_id, place.register
    for version in client.search_model_versions(f"run_id = '{run_id}'"):
        if version.name == name:
            return str(version.version)
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = place.source or f"{run.info.artifact_uri}/{CHECKPOINT}"
    tags = {JOB: subject.job} if subject.job else {}
    made = client.create_model_version(name, source, run_id, tags=tags, await_creation_for=0)
    return str(made.version)
