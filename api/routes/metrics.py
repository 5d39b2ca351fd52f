"""`GET /metrics`: Prometheus metrics of this process and of all jobs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Response

from api.auth import Caller
from api.checks.disk import folders
from api.dependencies import ServicesDep
from api.http.problems import Problem
from api.http.threads import in_metrics_thread
from api.openapi import problems
from api.schemas.examples import METRICS
from api.services import Services
from jobs.files.disks import DiskMetrics
from jobs.metrics.exposition import render
from jobs.metrics.jobs import JobMetrics

router = APIRouter(tags=["service"])


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Metrics in Prometheus's text format, or in OpenMetrics if `Accept` asks"
            " for it.",
            "content": {"text/plain": {"example": METRICS}, "application/openmetrics-text": {}},
        },
        **problems(403),
    },
)
async def get_metrics(
    services: ServicesDep,
    caller: Caller,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """Metrics for Prometheus; needs an admin key or the metrics token."""
    if not caller.admin:
        raise Problem("not-admin", "metrics cover the jobs of all owners")
    body, media_type = await in_metrics_thread(render, services.metrics, accept)
    return Response(body, headers={"Content-Type": media_type})


def install(services: Services) -> None:
    """Add metrics of all jobs and of this machine's disks to the application's metrics."""
    services.metrics.register(JobMetrics(services.engine, services.progress.redis))
    services.metrics.register(DiskMetrics(lambda: folders(services)))
