"""Jobs as the API answers them: the job, its summary in lists, its status, layers and files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from slimgpt.client.models.base import Model, Row, Rows
from slimgpt.spec.sizes import short_count, short_size

TERMINAL = ("succeeded", "failed", "cancelled")
"""Statuses after which nothing changes unless somebody retries the job; any other is not final."""
MINUTE, HOUR, DAY = 60, 3600, 86400


def clock(seconds: float) -> str:
    """`1:23`, of an hour and more `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class JobError(Model):
    """Why a job failed: a stable code, a message, and what to do."""

    code: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return "; ".join(filter(None, (self.message, self.hint)))


class Status(Model):
    """How far a job is: `percent` from 0 to 100, `eta_seconds` None where it is not known.

    `step` says what the stage is doing; `queue_position` is 1 for the next of all owners' jobs, and
    only `client.jobs.status` has it. Of a job that was deleted while it was followed there is only
    that.
    """

    id: str
    status: str
    stage: str | None = None
    layers_done: int = 0
    layers_total: int | None = None
    percent: float = 0.0
    eta_seconds: float | None = None
    attempt: int = 0
    step: str | None = None
    queue_position: int | None = None
    error: JobError | None = None

    @property
    def done(self) -> bool:
        """Whether the job has finished."""
        return self.status in TERMINAL

    @property
    def phase(self) -> str:
        """`running: prune`, or the status alone."""
        running = self.status == "running" and self.stage
        return f"{self.status}: {self.stage}" if running else self.status

    @property
    def layers(self) -> str:
        """`7/32 layers`; empty before the plan."""
        return f"{self.layers_done}/{self.layers_total} layers" if self.layers_total else ""

    @property
    def left(self) -> str:
        """`1:23 left`; empty where it is not known."""
        if self.eta_seconds is None or self.done:
            return ""
        return f"{clock(self.eta_seconds)} left"

    def __str__(self) -> str:
        share = f"{int(self.percent)}%"  # 100% is that of a job that succeeded
        return "  ".join(filter(None, (self.phase, share, self.layers, self.left)))

    def _repr_html_(self) -> str:
        from html import escape

        said = escape("  ".join(filter(None, (self.phase, self.layers, self.left))))
        bar = f'<progress value="{self.percent:g}" max="100" aria-label="progress"></progress>'
        return f"<div>{bar} {int(self.percent)}% &nbsp; {said}</div>"


class Links(Model):
    """Paths of the job."""

    self: str
    status: str
    events: str
    layers: str
    report: str
    artifacts: str


class JobSummary(Model):
    """A job in a list: of `spec`, `plan` and `result` only what a table shows. Times are in UTC.

    `seconds` is the wall time from the claim to the end.
    """

    id: str
    name: str = ""
    owner: str
    status: str
    stage: str | None
    spec: dict[str, Any]
    metadata: dict[str, str]
    attempt: int
    layers_done: int
    layers_total: int | None
    plan: dict[str, Any] | None
    result: dict[str, Any] | None
    error: JobError | None
    artifacts_bytes: int | None = None
    artifacts_removed_at: datetime | None = None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    seconds: float | None = None
    links: Links

    @property
    def done(self) -> bool:
        """Whether the job has finished."""
        return self.status in TERMINAL

    @property
    def model(self) -> str:
        """The model's name."""
        return str(self.spec.get("model") or "?")

    @property
    def target(self) -> str:
        """The target, of a sweep every ratio; `?` for one of another version of the service."""
        spec = self.spec
        if spec.get("ratios"):
            return ", ".join(f"{ratio:g}" for ratio in spec["ratios"])
        if spec.get("parameters") is not None:
            return short_count(spec["parameters"])
        if spec.get("memory") is not None:
            return short_size(spec["memory"])
        return "?" if spec.get("ratio") is None else f"{spec['ratio']:g}"

    @property
    def size(self) -> str:
        """Parameters before and after, `260K → 208K`; of a sweep those of its smallest model."""
        made = self.result or self.plan or {}
        if made.get("parameters_after") is None:
            return ""
        after = short_count(made["parameters_after"])
        before = short_count(made["parameters_before"])
        return f"{before} → {'…' if self.spec.get('ratios') else ''}{after}"

    @property
    def perplexity(self) -> str:
        """Dense and published perplexity of the first text, `4.56 → 8.23`.

        Empty for a sweep: the list has that of one of its models, and the size of another.
        """
        measured = (self.result or {}).get("perplexity") or []
        if not measured or self.spec.get("ratios"):
            return ""
        published = (self.result or {}).get("published") or "pruned"
        after = measured[0].get(published) or measured[0]["pruned"]
        return f"{measured[0]['dense']:.4g} → {after:.4g}"

    @property
    def labels(self) -> str:
        """`team=search night=2`."""
        return " ".join(f"{key}={value}" for key, value in self.metadata.items())

    @property
    def age(self) -> str:
        """Time since it was posted, in the largest unit of which it has one."""
        seconds = (datetime.now(UTC) - self.created_at).total_seconds()
        for unit, size in (("d", DAY), ("h", HOUR), ("min", MINUTE)):
            if seconds >= size:
                return f"{seconds // size:.0f} {unit}"
        return f"{max(seconds, 0):.0f} s"

    def rows(self) -> Rows:
        """As a table."""
        facts = {
            "job": self.id,
            "status": self.status + (f": {self.stage}" if not self.done and self.stage else ""),
            "model": self.model,
            "target": self.target,
            "parameters": self.size,
            "perplexity": self.perplexity,
            "time": "" if self.seconds is None else clock(self.seconds),
            "labels": self.labels,
            "error": "" if self.error is None else str(self.error),
        }
        return Rows((), [(name, value) for name, value in facts.items() if value])


class Job(JobSummary):
    """A job: its request, state and result. Times are in UTC.

    Attributes:
        spec: as posted.
        spec_understood: whether the service's version supports all of `spec`.
        plan: sizes before and after, once planned.
        result: sizes, time, perplexity, once succeeded.
        stages: seconds of each stage, once succeeded; they add up to `seconds`.
        warnings: `message` and `layer` of each.
    """

    spec_understood: bool = True
    stages: dict[str, float] | None = None
    warnings: list[dict[str, Any]]


class JobPage(Model):
    """Some jobs, newest first; `next_cursor` asks for the next page, None: this is the last."""

    items: list[JobSummary]
    next_cursor: str | None

    def rows(self) -> Rows:
        """As a table."""
        return jobs_table(self.items)


def jobs_table(jobs: Sequence[JobSummary]) -> Rows:
    """One row a job; owners are shown if there are several, which only admins see."""
    columns: dict[str, Callable[[JobSummary], str]] = {
        "id": lambda job: job.id,
        "status": lambda job: job.status,
        "target": lambda job: job.target,
        "parameters": lambda job: job.size,
        "perplexity": lambda job: job.perplexity,
        "layers": lambda job: f"{job.layers_done}/{job.layers_total}" if job.layers_total else "",
        "age": lambda job: job.age,
        "owner": lambda job: job.owner,
        "labels": lambda job: job.labels,
        "model": lambda job: job.model,
    }
    if len({job.owner for job in jobs}) < 2:
        del columns["owner"]
    if not any(job.metadata for job in jobs):
        del columns["labels"]
    rows: list[Row] = [[of(job) for of in columns.values()] for job in jobs]
    return Rows(list(columns), rows)


class JobLayer(Model):
    """One pruned layer, of the model `point` of a sweep: what was kept, errors, seconds."""

    job_id: str
    point: int
    layer: int
    epoch: int
    layers_total: int
    heads_before: int
    heads: int
    kv_heads_before: int
    kv_heads: int
    channels_before: int
    channels: int
    parameters_before: int
    parameters: int
    attention_error: float
    ffn_error: float
    attention_damping: float
    ffn_damping: float
    seconds: float
    resumed: bool
    finished_at: datetime


class Artifact(Model):
    """One file of a job; `size` in bytes."""

    path: str
    size: int
    sha256: str


class Snippet(Model):
    """Code that uses a job's files.

    Attributes:
        tool: curl, transformers, vllm or llama.cpp.
        folder: of a model of a sweep, `ratio-0.5`; empty for a single model.
        proved_by: the loader, with its version, that has loaded these files in the job, if any has.
    """

    tool: str
    format: str
    folder: str
    language: str
    code: str
    proved_by: str
