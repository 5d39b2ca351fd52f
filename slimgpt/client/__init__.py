"""A client of the service, synchronous (`Client`) and asynchronous (`AsyncClient`).

    from slimgpt.client import Client

    with Client() as client:
        job = client.jobs.create(model="local:model", ratio=0.3)
        client.jobs.wait(job)
        client.jobs.download(job, "smaller")

It imports neither torch nor anything of the service: of this project's dependencies it needs
httpx, pydantic, rich and tenacity.
"""

from slimgpt.client._async.client import AsyncClient
from slimgpt.client._sync.client import Client
from slimgpt.client.errors import (
    ClientError,
    ConflictError,
    DamagedFileError,
    FieldError,
    ForbiddenError,
    GoneError,
    InvalidRequestError,
    JobFailedError,
    NotFoundError,
    Problem,
    ProblemError,
    ServerError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
    UnreachableError,
    WaitTimeoutError,
)
from slimgpt.client.event_stream import Outage
from slimgpt.client.models.jobs import Artifact, Job, JobPage, JobSummary, Status
from slimgpt.client.models.reports import Plan, Report, SweepReport

__all__ = [
    "Artifact",
    "AsyncClient",
    "Client",
    "ClientError",
    "ConflictError",
    "DamagedFileError",
    "FieldError",
    "ForbiddenError",
    "GoneError",
    "InvalidRequestError",
    "Job",
    "JobFailedError",
    "JobPage",
    "JobSummary",
    "NotFoundError",
    "Outage",
    "Plan",
    "Problem",
    "ProblemError",
    "Report",
    "ServerError",
    "Status",
    "SweepReport",
    "TooManyRequestsError",
    "UnauthorizedError",
    "UnavailableError",
    "UnreachableError",
    "WaitTimeoutError",
]
