"""SQLAlchemy tables. Accessed by: `jobs` and `job_layers` `jobs.store.store`, `api_keys`
`jobs.store.keys`, `calibration_sets` `jobs.files.calibration_sets`, `webhooks` and
`webhook_deliveries` `jobs.store.webhooks`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from sqlalchemy import (
    JSON,
    BigInteger,
    Double,
    ForeignKey,
    Index,
    MetaData,
    RowMapping,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from jobs.states import Status
from jobs.store.clock import UtcDateTime
from jobs.store.records import Job, default_name, spec_of

Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


UNSWEPT = text("swept_epoch < lease_epoch")
"""Rows whose files are not swept yet; the condition of a partial index."""
PUBLISHED = text("artifacts_removed_at IS NULL AND artifacts_prefix IS NOT NULL")
"""Rows with published files; the condition of a partial index."""


class Base(DeclarativeBase):
    # Migrations on SQLite can only change named constraints.
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: UtcDateTime(),
        float: Double(),
        dict[str, Any]: Json,
        dict[str, str]: Json,
        list[dict[str, Any]]: Json,
        list[str]: Json,
    }


class JobRow(Base):
    """A job. The row is authoritative; queue messages only prompt a worker to read it.

    Columns that change with every layer or renewal of a lease have no index: PostgreSQL then
    updates the row in place (HOT), and none of its indexes grows.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("owner", "idempotency_key"),
        Index(None, "owner", "id"),
        Index(None, "owner", "status"),
        Index(None, "status", "id"),
        Index(None, "status", "finished_at"),
        Index(None, "announced", "status"),
        Index(None, "sort_name", "id"),
        Index(None, "sort_ratio", "id"),
        Index(None, "sort_parameters", "id"),
        Index(None, "sort_perplexity", "id"),
        Index("ix_jobs_unswept", "id", postgresql_where=UNSWEPT, sqlite_where=UNSWEPT),
        Index(
            "ix_jobs_published",
            "finished_at",
            "id",
            "artifacts_bytes",
            postgresql_where=PUBLISHED,
            sqlite_where=PUBLISHED,
        ),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    owner: Mapped[str] = mapped_column(String(128))
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    spec: Mapped[dict[str, Any]]
    labels: Mapped[dict[str, str]] = mapped_column("metadata")
    name: Mapped[str | None] = mapped_column(String(128))
    status: Mapped[str] = mapped_column(String(16))
    stage: Mapped[str | None] = mapped_column(String(16))

    lease_epoch: Mapped[int]
    attempt: Mapped[int]
    max_attempts: Mapped[int]
    worker: Mapped[str | None] = mapped_column(String(255))
    lease_expires_at: Mapped[datetime | None]
    cancel_requested: Mapped[bool]

    layers_total: Mapped[int | None]
    layers_done: Mapped[int]
    plan: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    report: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    warnings: Mapped[list[dict[str, Any]]]
    artifacts_prefix: Mapped[str | None] = mapped_column(String(255))
    artifacts_bytes: Mapped[int | None] = mapped_column(BigInteger)
    artifacts_removed_at: Mapped[datetime | None]
    swept_epoch: Mapped[int] = mapped_column(server_default="0")
    announced: Mapped[bool] = mapped_column(server_default=false())
    engine_kills: Mapped[list[dict[str, Any]] | None] = mapped_column(Json)
    layers_kept: Mapped[bool] = mapped_column(server_default=false())
    anew_epoch: Mapped[int] = mapped_column(server_default="0")
    engine_log: Mapped[dict[str, Any] | None]

    sort_name: Mapped[str | None] = mapped_column(Text)
    sort_ratio: Mapped[float | None]
    sort_parameters: Mapped[float | None]
    sort_perplexity: Mapped[float | None]

    created_at: Mapped[datetime]
    queued_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    updated_at: Mapped[datetime]
    dispatched_at: Mapped[datetime | None]


class LayerRow(Base):
    """One pruned decoder layer of a job; columns are the fields of `LayerFinished`."""

    __tablename__ = "job_layers"

    job_id: Mapped[str] = mapped_column(
        String(40), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True
    )
    point: Mapped[int] = mapped_column(primary_key=True, server_default="0")
    layer: Mapped[int] = mapped_column(primary_key=True)
    epoch: Mapped[int]
    layers_total: Mapped[int]
    heads_before: Mapped[int]
    heads: Mapped[int]
    kv_heads_before: Mapped[int]
    kv_heads: Mapped[int]
    channels_before: Mapped[int]
    channels: Mapped[int]
    parameters_before: Mapped[int] = mapped_column(BigInteger)
    parameters: Mapped[int] = mapped_column(BigInteger)
    attention_error: Mapped[float]
    ffn_error: Mapped[float]
    attention_damping: Mapped[float]
    ffn_damping: Mapped[float]
    seconds: Mapped[float]
    resumed: Mapped[bool]
    finished_at: Mapped[datetime]


class CalibrationSetRow(Base):
    """An uploaded calibration text; its content is in the artifact store."""

    __tablename__ = "calibration_sets"
    __table_args__ = (Index(None, "owner", "id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    owner: Mapped[str] = mapped_column(String(128))
    name: Mapped[str] = mapped_column(String(128))
    format: Mapped[str] = mapped_column(String(16))
    documents: Mapped[int] = mapped_column(BigInteger)
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    stored: Mapped[bool]
    created_at: Mapped[datetime]


class ApiKeyRow(Base):
    """An API key: owner and keyed hash."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(24), primary_key=True)
    owner: Mapped[str] = mapped_column(String(128))
    name: Mapped[str] = mapped_column(String(128))
    admin: Mapped[bool]
    digest: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class WebhookRow(Base):
    """A webhook endpoint, without its secret, which is computed."""

    __tablename__ = "webhooks"
    __table_args__ = (Index(None, "owner", "id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    owner: Mapped[str] = mapped_column(String(128))
    url: Mapped[str] = mapped_column(String(2048))
    description: Mapped[str] = mapped_column(String(256))
    events: Mapped[list[str]]
    enabled: Mapped[bool]
    disabled_reason: Mapped[str | None] = mapped_column(String(64))
    secret_version: Mapped[int]
    secret_check: Mapped[str] = mapped_column(String(64))
    previous_until: Mapped[datetime | None]
    failing_since: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class DeliveryRow(Base):
    """A message to a webhook: outbox while pending, log afterwards."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("webhook_id", "job_id", "ended_at"),
        Index(None, "webhook_id", "id"),
        Index(None, "status", "next_at"),
        Index(None, "status", "finished_at"),
        Index(None, "lease_expires_at"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    webhook_id: Mapped[str] = mapped_column(
        String(40), ForeignKey("webhooks.id", ondelete="CASCADE")
    )
    owner: Mapped[str] = mapped_column(String(128))
    event: Mapped[str] = mapped_column(String(32))
    job_id: Mapped[str | None] = mapped_column(String(40))
    ended_at: Mapped[datetime | None]
    body: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int]
    attempts_before: Mapped[int]
    log: Mapped[list[dict[str, Any]]]
    next_at: Mapped[datetime | None]
    lease_expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


JOBS = cast(Table, JobRow.__table__)
LAYERS = cast(Table, LayerRow.__table__)
CALIBRATION_SETS = cast(Table, CalibrationSetRow.__table__)
API_KEYS = cast(Table, ApiKeyRow.__table__)
WEBHOOKS = cast(Table, WebhookRow.__table__)
DELIVERIES = cast(Table, DeliveryRow.__table__)
HOUSEKEEPING = frozenset({"report", "swept_epoch", "announced", "layers_kept", "engine_log"})
JOB_COLUMNS = tuple(
    column
    for column in JOBS.c
    if column.name not in HOUSEKEEPING and not column.name.startswith("sort_")
)
"""A job without its report and the log of a failed engine, which may be large, and without columns
of removal, announcement and order."""


def job_of(row: RowMapping) -> Job:
    """The job of a row of `JOB_COLUMNS`."""
    values = dict(row)
    values["spec"] = spec_of(values["spec"])
    values["name"] = values["name"] or default_name(values["spec"])
    values["status"] = Status(values["status"])
    return Job(**values)
