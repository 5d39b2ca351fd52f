"""What must hold after every fault, once the job is over and the service whole again.

Each check yields sentences about what is wrong; none: it holds.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jobs.files.artifacts import ArtifactNotFound
from jobs.messages.queue import QUEUE
from jobs.states import TERMINAL, Status
from jobs.store.records import Job
from tests.faults.faults import Fault
from tests.faults.stack import REAPERS
from tests.faults.trial import Trial

THE_SERVICES = "service"  # whose place it is; see `jobs.store.database`
Check = Callable[[Trial, Fault, Job], Iterator[str]]


def violations(trial: Trial, fault: Fault, clean: Mapping[str, str]) -> list[str]:
    """All that is wrong.

    Args:
        clean: SHA-256 by path of the files that a run without any fault publishes.
    """
    job = trial.now()
    if job is None:
        return ["the job is gone"]
    if not job.terminal:
        return [f"the job is stuck: {job.status}, stage {job.stage}, attempt {job.attempt}"]
    found = [sentence for check in CHECKS + SETTLING for sentence in check(trial, fault, job)]
    if job.status is Status.SUCCEEDED:
        found += _bytes(trial, job, clean)
    return found


def _end(trial: Trial, fault: Fault, job: Job) -> Iterator[str]:
    if job.status not in fault.ends:
        yield f"the job is {job.status}: {job.error}"
    if job.status is Status.FAILED:
        error = job.error or {}
        if not (error.get("code") and error.get("message")):
            yield f"the failure is not explained: {error}"
        if str(trial.stack.folder) in json.dumps(error):
            yield f"the failure shows a path of the worker: {error}"


def _lease(trial: Trial, fault: Fault, job: Job) -> Iterator[str]:
    if job.worker is not None or job.lease_expires_at is not None:
        yield f"a lease outlived the job: {job.worker}, {job.lease_expires_at}"
    if job.finished_at is None:
        yield "the end has no time"


def losses(trial: Trial) -> int:
    """Leases of the job that ran out, as the reapers tell."""
    entries = [entry for name in REAPERS for entry in trial.stack.events(name)]
    mine = [entry for entry in entries if entry.get("job") == trial.job_id]
    return sum(entry.get("event") == "worker lost" for entry in mine)


def _attempts(trial: Trial, fault: Fault, job: Job) -> Iterator[str]:
    """One is spent by a lease that ran out, an engine that was killed, and the end.

    By a planned shutdown none is.
    """
    if not 0 <= job.attempt <= min(job.max_attempts, job.lease_epoch):
        yield f"attempt {job.attempt} of {job.max_attempts}, epoch {job.lease_epoch}"
    lost = losses(trial) + len(job.engine_kills or [])
    ended = {lost + 1} if job.status is Status.SUCCEEDED else {lost, lost + 1}
    if not fault.hides_losses and job.attempt not in ended:
        yield f"{job.attempt} attempts were spent, but {lost} leases and engines were lost"


def _files(trial: Trial, fault: Fault, job: Job) -> Iterator[str]:
    """The published prefix and nothing else: none of lost epochs, nothing half written.

    Of a failed job with layers those are left, for a retry.
    """
    wanted = []
    if job.status is Status.SUCCEEDED:
        wanted = [f"jobs/{job.id}/{job.lease_epoch}"]
        if job.artifacts_prefix != wanted[0]:
            yield f"the result is at {job.artifacts_prefix}, of epoch {job.lease_epoch}"
    elif job.artifacts_prefix is not None:
        yield f"a job that is {job.status} points at files: {job.artifacts_prefix}"
    kept = job.status is Status.FAILED and bool(trial.stack.store.layers(job.id))
    there = {posixpath.dirname(path) for path in trial.stack.files()}
    if kept:
        there = {place for place in there if not place.startswith(f"work/{job.id}/")}
    if strays := sorted(there - {*wanted, THE_SERVICES}):
        yield f"stray files in the artifacts: {strays}"
    if missing := sorted(set(wanted) - there):
        yield f"nothing is published at {missing}"
    store = trial.stack.object_store
    if store is not None and (parts := store.uploads(trial.stack.bucket)):
        yield f"uploads in parts were neither completed nor given up: {parts}"
    folders = {path.name for path in trial.stack.work.iterdir()}
    if left := sorted(folders - ({job.id} if kept else set())):
        yield f"the work root is not empty: {left}"
    # A worker's sign of life, and the empty folder of Celery's processes, go when they are ended
    # nicely; `kill -9` leaves them. The last is torch's cache, one for all that this user runs.
    left = [str(path.relative_to(trial.stack.tmp)) for path in trial.stack.tmp.rglob("*")]
    if left := [
        path for path in left if not path.startswith(("pymp-", "slimgpt-", "torchinductor_"))
    ]:
        yield f"temporary files were left: {left}"


def _bytes(trial: Trial, job: Job, clean: Mapping[str, str]) -> Iterator[str]:
    """What is published equals a clean run's bytes; of the real engine, what has no times in it."""
    try:
        listed = trial.stack.artifacts.list(job.artifacts_prefix or "none")
    except (ArtifactNotFound, ValueError) as error:
        yield f"the result can't be listed: {error}"
        return
    published = {file.path: file.sha256 for file in listed}
    if published.keys() != clean.keys():
        yield f"other files than a clean run's: {sorted(published.keys() ^ clean.keys())}"
    for path in sorted(clean.keys() & published.keys()):
        with trial.stack.artifacts.open(job.artifacts_prefix or "", path) as file:
            stored = _digest(file.read())
        if stored != published[path]:
            yield f"{path} is not what the manifest says"
        if clean[path] and stored != clean[path]:
            yield f"{path} has other bytes than a clean run's"


def _layers(trial: Trial, fault: Fault, job: Job) -> Iterator[str]:
    rows = trial.stack.store.layers(job.id)
    if [row.layer for row in rows] != list(range(len(rows))):
        yield f"layers are missing: {[row.layer for row in rows]}"
    if any(row.epoch > job.lease_epoch for row in rows):
        yield "a layer is of an epoch to come"
    whole = (job.layers_total, job.layers_total)
    if job.status is Status.SUCCEEDED and (len(rows), job.layers_done) != whole:
        yield f"{job.layers_done} layers counted, {len(rows)} kept, of {job.layers_total}"


def _stream(trial: Trial, fault: Fault, job: Job) -> Iterator[str]:
    """Who follows hears the end, once and last; where Redis was well, of every layer too."""
    heard = list(_heard(trial))
    name, last = heard[-1] if heard else ("nothing", {})
    if (name, last.get("status")) != ("end", job.status):
        yield f"the stream ends with {name} {last}"
    ends = [told["status"] for kind, told in heard if kind == "status" and _over(told["status"])]
    if len(ends) > 1:
        yield f"the stream tells more than one end: {ends}"
    layers = {told["layer"] for kind, told in heard if kind == "layer_finished"}
    if job.status is Status.SUCCEEDED and not fault.hurts_hints:
        if layers != set(range(job.layers_total or 0)):
            yield f"the stream tells of layers {sorted(layers)} only"
        if ends != [Status.SUCCEEDED]:
            yield f"the stream tells the ends {ends}"


def _over(status: str) -> bool:
    return status in set(TERMINAL)


def _heard(trial: Trial) -> Iterator[tuple[str, dict[str, Any]]]:
    name = ""
    with trial.stack.http.stream("GET", f"/jobs/{trial.job_id}/events") as answer:
        for line in answer.iter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                yield name, json.loads(value)


def _status(trial: Trial, fault: Fault, job: Job) -> Iterator[str]:
    told = trial.stack.http.get(f"/jobs/{job.id}/status").json()
    if told["status"] != job.status:
        yield f"/status says {told['status']} of a job that is {job.status}"
    if job.status is Status.SUCCEEDED and told["percent"] != 100.0:
        yield f"/status says {told['percent']} percent of a job that is over"
    if told["eta_seconds"] is not None:
        yield f"/status expects {told['eta_seconds']} s more of a job that is over"


def _processes(trial: Trial, fault: Fault, job: Job) -> Iterator[str]:
    """Nothing runs that the service would not start anew."""
    if engines := [" ".join(process.cmdline()) for process in trial.stack.engines()]:
        yield f"engines outlived the job: {engines}"
    if strangers := trial.stack.strangers():
        yield f"processes outlived who started them: {strangers}"


def _queue(trial: Trial, fault: Fault, job: Job) -> Iterator[str]:
    with trial.stack.redis.client() as client:
        if waiting := client.llen(QUEUE):
            yield f"{waiting} messages are left in the queue"
        if unacked := client.hlen("unacked"):
            yield f"{unacked} messages were never acknowledged"


CHECKS: tuple[Check, ...] = (_end, _lease, _attempts, _layers, _stream, _status)
SETTLING: tuple[Check, ...] = (_files, _processes, _queue)
"""What the service may take a moment for after the end."""


def settled(trial: Trial, fault: Fault) -> bool:
    """Whether the service has cleaned up after the job."""
    job = trial.now()
    return job is not None and not any(list(check(trial, fault, job)) for check in SETTLING)


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder by its path."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): _digest(path.read_bytes()) for path in files}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
