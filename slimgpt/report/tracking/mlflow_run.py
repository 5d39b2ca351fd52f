"""`log`: writes a record and its files to MLflow idempotently.

1. Search for a run with the key; create one with the key if there is none.
2. Log parameters, metrics and tags. Metrics have the run's start as timestamp: MLflow stores a
   metric with the same name, step, timestamp and value once, so that a retry adds no duplicates.
3. Upload files that are missing.
4. Create a version of the registered model, unless the run has one.
5. Set the run's status to finished. A run that stays `RUNNING` is completed by a retry.

Credentials come from MLflow's environment variables.
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
TEXTS_PER_BATCH = 20  # MLflow allows 100, but at most 1 MB per request; a character may be 6 bytes
INSTALL = "pip install 'slimgpt-service[mlflow]'"
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is ours, and may be read as JSON
}
"""Defaults of MLflow's environment variables."""
T = TypeVar("T")


class TrackingError(SlimGPTError):
    """MLflow cannot be reached or refuses a request."""

    code = "tracking-failed"


@dataclass(frozen=True)
class Destination:
    """Where to log.

    Attributes:
        uri: MLflow's tracking URI.
        experiment: name of the experiment; created if it does not exist.
        register: name of the registered model that gets a version; empty: none.
        source: location of that version's files, such as `s3://…`; empty: the run's artifacts.
    """

    uri: str
    experiment: str
    register: str = ""
    source: str = ""


@dataclass(frozen=True)
class TrackedModel:
    """The pruned model of a run.

    Attributes:
        key: identifies the run when logging is repeated.
        name: display name of the run.
        job: id of the service's job; empty if there is none.
        files: report files for the run's top folder.
        checkpoint: folder whose files are uploaded; None: no upload.
    """

    key: str
    name: str
    job: str = ""
    files: Sequence[Path] = ()
    checkpoint: Path | None = None


class LoggedRun(NamedTuple):
    """A logged run. `new`: it was created by this call; `version`: of the registered model."""

    run_id: str
    experiment_id: str
    new: bool
    version: str


def require() -> None:
    """Check that MLflow is installed, before any expensive work.

    Raises:
        TrackingError: it is not; the hint says how to install it.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import mlflow  # noqa: F401
    except ImportError as error:
        raise TrackingError("MLflow is not installed", hint=INSTALL) from error


def log(record: Record, subject: TrackedModel, place: Destination) -> LoggedRun:
    """Write a run, or the missing parts of an existing one.

    Raises:
        TrackingError: the server cannot be reached or refuses a request; what was written stays,
            and a retry continues from there.
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
    """The number of completely logged models of every service job in the experiment, by job id.

    Args:
        whole: count only models whose checkpoint was uploaded.

    Raises:
        TrackingError: the server cannot be reached or refuses a request.
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
    """Whether a run has its model version and, if `whole`, its checkpoint."""
    registered = not place.register or tags.get(REGISTERED) == place.register
    return registered and (not whole or SENT in tags)


@contextmanager
def _client(place: Destination) -> Iterator[MlflowClient]:
    """A client whose errors, of any type, become `TrackingError` with one line."""
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
            hint="check the server, then repeat the command: nothing is logged twice",
        ) from error


def _experiment(client: MlflowClient, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage != "active":
        raise TrackingError(
            f"the MLflow experiment {name!r} is deleted", hint="restore it, or name another one"
        )
    if found is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:  # another client may have created it meanwhile
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


def _run(client: MlflowClient, experiment: str, subject: TrackedModel) -> tuple[Any, bool]:
    """The run with this key, and whether it was created now."""
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
    """A checkpoint's files, including further formats and adapters, folder by folder."""
    found = (file for file in checkpoint.rglob("*") if file.is_file())
    return sorted(found, key=lambda file: (file.parent, file.name))


def _send(client: MlflowClient, run_id: str, files: Sequence[Path], folder: str) -> None:
    """Upload the files that are missing or have another size."""
    there = {entry.path: entry.file_size for entry in client.list_artifacts(run_id, folder)}
    for file in files:
        path = f"{folder}/{file.name}" if folder else file.name
        if there.get(path) != file.stat().st_size:
            client.log_artifact(run_id, str(file), folder or None)


def _register(client: MlflowClient, run: Any, place: Destination, subject: TrackedModel) -> str:
    """The run's version of the registered model, created if there is none."""
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
