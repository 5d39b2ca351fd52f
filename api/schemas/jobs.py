"""Request and response models of `/jobs`, as documented in /docs.

A request is a `PruneSpec` with `name` and `metadata` beside its fields; nothing is renamed on the
way to the store or the engine.
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

from api.schemas import examples
from api.schemas.paths import VERSION
from jobs.files.artifacts import Artifact
from jobs.store.lists.summaries import JobSummary
from jobs.store.records import MAX_NAME, IncompatibleSpec, Job, Layer
from slimgpt.spec.prune import PruneSpec

MetadataKey = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,63}$", max_length=64)
]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
JobName = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=1, max_length=MAX_NAME, pattern=r"^[^\x00-\x1f\x7f]*$"
    ),
]
MAX_METADATA_BYTES = 8192
"""Limit for all labels of a job, because lists contain them."""
NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""U+0000 in JSON, but not an escaped backslash before `u0000`."""


class JobRequest(PruneSpec):
    """A pruning job."""

    model_config = ConfigDict(json_schema_extra={"examples": examples.JOBS})

    name: JobName | None = Field(
        None,
        description="What to call the job; by default its model and target. Not unique.",
        examples=["demo for the phone"],
    )
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=32)] = Field(
        default_factory=dict,
        description="Labels of the client, stored and returned with the job; at most 8 KiB of JSON "
        "together.",
    )

    @field_validator("metadata")
    @classmethod
    def _small(cls, value: dict[str, str]) -> dict[str, str]:
        size = len(json.dumps(value, ensure_ascii=False).encode())
        if size > MAX_METADATA_BYTES:
            raise ValueError(
                f"the labels have {size:,} bytes of JSON, more than {MAX_METADATA_BYTES:,}"
            )
        return value

    @model_validator(mode="after")
    def _storable(self) -> JobRequest:
        # PostgreSQL cannot store NUL in JSON; it is refused on every database.
        text = self.model_dump_json()
        if "\\u0000" in text and NUL.search(text):
            raise ValueError("text must not contain the character U+0000")
        return self

    def spec(self) -> PruneSpec:
        """The specification without `name` and `metadata`, for the engine."""
        # It is validated already, which takes time if it is large.
        return PruneSpec.model_construct(
            **{name: getattr(self, name) for name in PruneSpec.model_fields}
        )


class RetryRequest(BaseModel):
    """How a job is retried."""

    model_config = ConfigDict(extra="forbid")

    anew: bool = Field(
        False,
        description="Start at the first layer, not after the last finished one.",
        examples=[True],
    )


class ErrorView(BaseModel):
    """Why a job failed."""

    code: str = Field(description="Stable, for programs.", examples=["calibration-error"])
    message: str = Field(description="What is wrong, and where.")
    hint: str = Field("", description="What to do about it.")


class StatusView(BaseModel):
    """A job's status and progress. Treat an unknown status as not terminal."""

    id: str = Field(examples=[examples.JOB_ID])
    status: str = Field(
        description="queued, running, cancelling; finally succeeded, failed or cancelled.",
        examples=["running"],
    )
    stage: str | None = Field(
        description="start, resolve, plan, prune, recover, evaluate, verify or publish.",
        examples=["prune"],
    )
    step: str | None = Field(
        None, description="What the stage is doing, in words.", examples=["layer 7 of 32"]
    )
    layers_done: int = Field(examples=[7])
    layers_total: int | None = Field(description="Known once the plan is made.", examples=[32])
    percent: float = Field(ge=0, le=100, examples=[31.5])
    eta_seconds: float | None = Field(
        description="Estimated time left in seconds, verification and publication included; "
        "null: not known yet.",
        examples=[812.0],
    )
    attempt: int = Field(description="Number of attempts so far.", examples=[1])
    queue_position: int | None = Field(
        None,
        description="Of a queued job: 1 if it is the next of all owners' jobs. Only in "
        "`GET /v1/jobs/{id}/status`.",
        examples=[3],
    )
    error: ErrorView | None = None


class Links(BaseModel):
    """URLs of the job."""

    self: str
    status: str
    events: str
    layers: str
    report: str
    artifacts: str

    @classmethod
    def of(cls, job_id: str) -> Links:
        """The URLs of a job."""
        here = f"{VERSION}/jobs/{job_id}"
        return cls(
            self=here, **{name: f"{here}/{name}" for name in cls.model_fields if name != "self"}
        )


class JobView(BaseModel):
    """A job: its request, state and result. Times are in UTC."""

    id: str = Field(examples=[examples.JOB_ID])
    name: str = Field(
        description="As posted, or by model and target.", examples=["demo, ratio 0.25"]
    )
    owner: str = Field(description="Owner of the API key that posted it.", examples=["ada"])
    status: str = Field(examples=["succeeded"])
    stage: str | None
    spec: PruneSpec | dict[str, JsonValue] = Field(
        description="As posted; any JSON object if another version of the service wrote it."
    )
    spec_understood: bool = Field(
        True, description="False: this version of the service does not support all of `spec`."
    )
    metadata: dict[str, str]
    attempt: int
    layers_done: int
    layers_total: int | None
    plan: dict[str, Any] | None = Field(description="Sizes before and after, once planned.")
    result: dict[str, Any] | None = Field(description="Sizes, time, perplexity, once succeeded.")
    error: ErrorView | None
    warnings: list[dict[str, Any]]
    artifacts_bytes: int | None = Field(None, description="Total size of the files.")
    artifacts_removed_at: datetime | None = Field(
        None, description="When the files expired, by age or to free space; the report stays."
    )
    created_at: datetime
    started_at: datetime | None = Field(description="When a worker first claimed the job.")
    finished_at: datetime | None
    seconds: float | None = Field(
        None, description="Wall time from the claim to the end, publication included."
    )
    stages: dict[str, float] | None = Field(
        None, description="Seconds of each stage of a succeeded job; they add up to `seconds`."
    )
    links: Links

    @classmethod
    def of(cls, job: Job) -> JobView:
        """The view of a job of the store."""
        made_here = {"links", "spec", "spec_understood"}
        given = {name: getattr(job, name) for name in cls.model_fields if name not in made_here}
        given["spec_understood"] = isinstance(job.spec, PruneSpec)
        given["spec"] = job.spec.values if isinstance(job.spec, IncompatibleSpec) else job.spec
        if (result := job.timed_result) is not None:  # the layers are at /layers
            given["result"] = {k: v for k, v in result.items() if k != "layers"}
        return cls.model_validate({**given, "links": Links.of(job.id)})


class ScheduleSummary(BaseModel):
    """The shape of a schedule, without the ratios of its layers."""

    shape: JsonValue = Field(examples=["log"])


class SpecSummary(BaseModel):
    """A summary of a specification, as stored; any JSON if another version wrote it."""

    model: JsonValue = Field(examples=["local:model"])
    ratio: JsonValue = Field(examples=[0.25])
    ratios: JsonValue = None
    parameters: JsonValue = None
    memory: JsonValue = None
    method: JsonValue = Field(examples=["slimgpt"])
    schedule: ScheduleSummary
    formats: JsonValue = Field(examples=[["gguf"]])


class JobSummaryView(BaseModel):
    """A summary of a job, for lists. Times are in UTC."""

    id: str = Field(examples=[examples.JOB_ID])
    name: str = Field(
        description="As posted, or by model and target.", examples=["demo, ratio 0.25"]
    )
    owner: str = Field(description="Owner of the API key that posted it.", examples=["ada"])
    status: str = Field(examples=["succeeded"])
    stage: str | None
    spec: SpecSummary = Field(description="Summary; the whole specification is at `links.self`.")
    metadata: dict[str, str]
    attempt: int
    layers_done: int
    layers_total: int | None
    plan: dict[str, Any] | None = Field(description="Sizes before and after, once planned.")
    result: dict[str, Any] | None = Field(
        description="Sizes, time and perplexity on the first text, once succeeded."
    )
    error: ErrorView | None = Field(description="Texts are cut at 500 characters.")
    artifacts_bytes: int | None = Field(description="Total size of the files.")
    artifacts_removed_at: datetime | None = Field(
        description="When the files expired, by age or to free space; the report stays."
    )
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    seconds: float | None = Field(None, description="Wall time from the claim to the end.")
    links: Links

    @classmethod
    def of(cls, job: JobSummary) -> JobSummaryView:
        """The view of a job in a list of the store."""
        given = {name: getattr(job, name) for name in cls.model_fields if name != "links"}
        spec = asdict(job.spec)
        given["spec"] = spec | {"schedule": {"shape": spec.pop("shape")}}
        return cls.model_validate({**given, "links": Links.of(job.id)})


class JobPage(BaseModel):
    """A page of jobs; the next page has `cursor=next_cursor`, unless it is null."""

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
