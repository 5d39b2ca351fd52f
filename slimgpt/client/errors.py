"""The client's exceptions: all are `ClientError`; an error of the service is a `ProblemError`."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

if TYPE_CHECKING:
    from slimgpt.client.models.jobs import Job


class FieldError(BaseModel):
    """An invalid part of a request: `location` is body, query, path or header."""

    model_config = ConfigDict(frozen=True, extra="allow")

    location: str = "body"
    pointer: str
    message: str


class Problem(BaseModel):
    """A problem document (RFC 9457), with its extensions as further attributes.

    Attributes:
        type: URI reference of the kind of problem, such as `/problems/job-not-found`.
        request_id: as in the service's log.
        errors: the invalid fields.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str = "about:blank"
    title: str = ""
    status: int
    detail: str = ""
    instance: str = ""
    request_id: str = ""
    errors: list[FieldError] = []


class ClientError(Exception):
    """The service cannot be used, refuses, or its files do not arrive; the message is one line."""


class UnreachableError(ClientError):
    """The service does not answer; the same call can succeed later."""


class DamagedFileError(ClientError):
    """A downloaded file differs from what the service lists, or would lie outside the folder."""


class WaitTimeoutError(ClientError, TimeoutError):
    """The job had not finished in the given time; it continues."""


class JobFailedError(ClientError):
    """A job that was waited for failed or was cancelled.

    Attributes:
        job: as it ended; `job.error` has code, message and hint.
    """

    def __init__(self, job: Job) -> None:
        ended = "was cancelled" if job.status == "cancelled" else job.status
        said = "" if job.error is None else f": {job.error}"
        super().__init__(f"the job {ended}{said}")
        self.job = job


class ProblemError(ClientError):
    """The service answered with an error.

    Attributes:
        problem: the problem document; made of the status alone if the answer was another.
        retry_after: seconds after which the service asks to try again; None: not said.
    """

    def __init__(self, problem: Problem, retry_after: float | None = None) -> None:
        super().__init__(" ".join((problem.detail or problem.title).split()))
        self.problem = problem
        self.retry_after = retry_after

    @property
    def kind(self) -> str:
        """The last part of the type, such as `job-not-found`: stable, for programs."""
        return self.problem.type.rpartition("/")[2]

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.problem.status

    @property
    def errors(self) -> list[FieldError]:
        """The invalid fields of the request."""
        return self.problem.errors

    @property
    def request_id(self) -> str:
        """Id of the request, as in the service's log."""
        return self.problem.request_id


class InvalidRequestError(ProblemError):
    """400, 408, 413, 415, 416, 422: the request is not valid as it is."""


class UnauthorizedError(ProblemError):
    """401: the service requires a valid API key."""


class ForbiddenError(ProblemError):
    """403: this key or this machine may not."""


class NotFoundError(ProblemError):
    """404: there is no such job, file, set or webhook, or it is another owner's."""


class ConflictError(ProblemError):
    """409: the job or webhook is not in the right state."""


class GoneError(ProblemError):
    """410: the files have expired."""


class TooManyRequestsError(ProblemError):
    """429: a limit of this owner is reached."""


class ServerError(ProblemError):
    """5xx: the service failed."""


class UnavailableError(ServerError):
    """502, 503, 504: the service cannot answer now; the same call can succeed later."""


BY_STATUS: Mapping[int, type[ProblemError]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    429: TooManyRequestsError,
    **dict.fromkeys((502, 503, 504), UnavailableError),
}


def problem_error(status: int, url: str, body: Any, retry_after: str) -> ProblemError:
    """The exception for an error response.

    Args:
        body: its JSON; None if it has none.
        retry_after: its header.
    """
    try:
        problem = Problem.model_validate(body)
    except ValidationError:
        said = f"{url} answered {status} {_phrase(status)}".rstrip()
        problem = Problem(status=status, title=said)
    if status == HTTPStatus.UNAUTHORIZED:
        hint = f"{problem.detail or problem.title}; give `api_key`, or set SLIMGPT_API_KEY"
        problem = problem.model_copy(update={"detail": hint})
    general = ServerError if status >= HTTPStatus.INTERNAL_SERVER_ERROR else InvalidRequestError
    seconds = float(retry_after) if retry_after.isdecimal() else None
    return BY_STATUS.get(status, general)(problem, seconds)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
