"""Request and response models of `/jobs`, as documented in /docs.

A request is a `PruneSpec` with `metadata` beside its fields; nothing is renamed on the way to
the store or the engine.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    field_validator,
    model_validator,
)

from api.http.validation import FieldError
from api.schemas import examples
from jobs.files.artifacts import Artifact
from jobs.store.lists.summaries import JobSummary
from jobs.store.records import IncompatibleSpec, Job, Layer
from slimgpt.spec.prune import PruneSpec

MetadataKey = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,63}$", max_length=64)
]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
MAX_METADATA_BYTES = 8192
"""Of all labels of a job: a list shows them for each of its jobs."""
NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""U+0000 in JSON, not a backslash before `u0000`."""


class JobRequest(PruneSpec):
    """A pruning job to be done."""

    model_config = ConfigDict(json_schema_extra={"examples": examples.JOBS})

    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=32)] = Field(
        default_factory=dict,
        description="Labels of the client's own, kept with the job and returned with it; together "
        "at most 8 KiB of JSON.",
    )

    @field_validator("metadata")
    @classmethod
    def _small(cls, value: dict[str, str]) -> dict[str, str]:
        size = len(json.dumps(value, ensure_ascii=False).encode())
        if size > MAX_METADATA_BYTES:
            raise ValueError(
                f"the labels are {size:,} bytes of JSON together; at most {MAX_METADATA_BYTES:,}"
            )
        return value

    @model_validator(mode="after")
    def _storable(self) -> JobRequest:
        # PostgreSQL keeps no NUL in JSON; every store refuses it, so that none is special.
        text = self.model_dump_json()
        if "\\u0000" in text and NUL.search(text):
            raise ValueError("text must not hold the character U+0000")
        return self

    def spec(self) -> PruneSpec:
        """The specification alone, as the engine takes it."""
        # All of it has been validated, and there may be much of it.
        return PruneSpec.model_construct(
            **{name: getattr(self, name) for name in PruneSpec.model_fields}
        )


class RetryRequest(BaseModel):
    """How a job is tried again."""

    model_config = ConfigDict(extra="forbid")

    anew: bool = Field(
        False,
        description="Start at the first layer, whatever earlier attempts have finished.",
        examples=[True],
    )


class ErrorView(BaseModel):
    """Why a job failed."""

    code: str = Field(description="Stable, for programs.", examples=["calibration-error"])
    message: str = Field(description="What is wrong and where.")
    hint: str = Field("", description="What to do about it.")


class StatusView(BaseModel):
    """How far a job is. Treat a status that you do not know as not terminal."""

    id: str = Field(examples=[examples.JOB_ID])
    status: str = Field(
        description="queued, running, cancelling; at the end succeeded, failed or cancelled.",
        examples=["running"],
    )
    stage: str | None = Field(
        description="resolve, plan, prune, recover, evaluate, verify or publish.",
        examples=["prune"],
    )
    layers_done: int = Field(examples=[7])
    layers_total: int | None = Field(description="Known once the plan is made.", examples=[32])
    percent: float = Field(ge=0, le=100, examples=[31.5])
    eta_seconds: float | None = Field(
        description="Estimated time left in seconds, as far as it can be told.", examples=[812.0]
    )
    attempt: int = Field(description="How often a worker has started on the job.", examples=[1])
    error: ErrorView | None = None


class Links(BaseModel):
    """Where the rest of the job is."""

    self: str
    status: str
    events: str
    layers: str
    report: str
    artifacts: str

    @classmethod
    def of(cls, job_id: str) -> Links:
        """The addresses of a job."""
        here = f"/jobs/{job_id}"
        return cls(
            self=here, **{name: f"{here}/{name}" for name in cls.model_fields if name != "self"}
        )


class JobView(BaseModel):
    """A job: what was asked and what became of it. Times are in UTC."""

    id: str = Field(examples=[examples.JOB_ID])
    owner: str = Field(description="Owner of the API key that posted it.", examples=["ada"])
    status: str = Field(examples=["succeeded"])
    stage: str | None
    spec: PruneSpec | dict[str, JsonValue] = Field(
        description="As it was posted; any object where another version of the service wrote it."
    )
    spec_understood: bool = Field(
        True, description="False: this version of the service does not know all of `spec`."
    )
    metadata: dict[str, str]
    attempt: int
    layers_done: int
    layers_total: int | None
    plan: dict[str, Any] | None = Field(description="Sizes before and after, once planned.")
    result: dict[str, Any] | None = Field(description="Sizes, time, perplexity, once succeeded.")
    error: ErrorView | None
    warnings: list[dict[str, Any]]
    artifacts_bytes: int | None = Field(None, description="Size of all files together.")
    artifacts_removed_at: datetime | None = Field(
        None, description="When the files went, after a time or to make room; the report stays."
    )
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    links: Links

    @classmethod
    def of(cls, job: Job) -> JobView:
        """The view of a job of the store."""
        made_here = {"links", "spec", "spec_understood"}
        given = {name: getattr(job, name) for name in cls.model_fields if name not in made_here}
        given["spec_understood"] = isinstance(job.spec, PruneSpec)
        given["spec"] = job.spec.values if isinstance(job.spec, IncompatibleSpec) else job.spec
        if job.result is not None:  # its layers are at /layers: a list of jobs stays small
            given["result"] = {k: v for k, v in job.result.items() if k != "layers"}
        return cls.model_validate({**given, "links": Links.of(job.id)})


class ScheduleSummary(BaseModel):
    """The shape of a schedule, without the ratios of its layers."""

    shape: JsonValue = Field(examples=["log"])


class SpecSummary(BaseModel):
    """What of a specification a list shows, as it is stored; of another version any JSON."""

    model: JsonValue = Field(examples=["local:demo"])
    ratio: JsonValue = Field(examples=[0.25])
    ratios: JsonValue = None
    parameters: JsonValue = None
    memory: JsonValue = None
    method: JsonValue = Field(examples=["slimgpt"])
    schedule: ScheduleSummary
    formats: JsonValue = Field(examples=[["gguf"]])


class JobSummaryView(BaseModel):
    """A job in a list: what was asked and what became of it, in few words. Times are in UTC."""

    id: str = Field(examples=[examples.JOB_ID])
    owner: str = Field(description="Owner of the API key that posted it.", examples=["ada"])
    status: str = Field(examples=["succeeded"])
    stage: str | None
    spec: SpecSummary = Field(description="Part of what was posted; all of it is at `links.self`.")
    metadata: dict[str, str]
    attempt: int
    layers_done: int
    layers_total: int | None
    plan: dict[str, Any] | None = Field(description="Sizes before and after, once planned.")
    result: dict[str, Any] | None = Field(
        description="Sizes, time and perplexity on the first text, once succeeded."
    )
    error: ErrorView | None = Field(description="Its words cut at 500 characters.")
    artifacts_bytes: int | None = Field(description="Size of all files together.")
    artifacts_removed_at: datetime | None = Field(
        description="When the files went, after a time or to make room; the report stays."
    )
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    links: Links

    @classmethod
    def of(cls, job: JobSummary) -> JobSummaryView:
        """The view of a job in a list of the store."""
        given = {name: getattr(job, name) for name in cls.model_fields if name != "links"}
        spec = asdict(job.spec)
        given["spec"] = spec | {"schedule": {"shape": spec.pop("shape")}}
        return cls.model_validate({**given, "links": Links.of(job.id)})


class JobPage(BaseModel):
    """Some jobs, newest first; go on with `cursor=next_cursor` while it is not null."""

    items: list[JobSummaryView]
    next_cursor: str | None


class LayerList(BaseModel):
    """The layers pruned so far, in order."""

    items: list[Layer] = Field(examples=[[examples.LAYER]])
    next_cursor: None = None


class ArtifactList(BaseModel):
    """The files of a finished job."""

    items: list[Artifact] = Field(examples=[[examples.ARTIFACT]])
    next_cursor: None = None


class ProblemView(BaseModel):
    """A problem document (RFC 9457)."""

    type: str = Field(
        description="URI reference of the kind of problem; GET it for what to do.",
        examples=["/problems/invalid-request"],
    )
    title: str = Field(examples=["The request is not valid"])
    status: int = Field(examples=[422])
    detail: str = Field("", examples=["ratio: Input should be less than 1"])
    instance: str = Field("", examples=["/jobs"])
    request_id: str = Field(
        "", description="As in the header X-Request-ID; the service's logs name it."
    )
    errors: list[FieldError] = []
