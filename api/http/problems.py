"""Problem documents (RFC 9457): the one shape in which this API says no.

Every error leaves as `application/problem+json`: raised here as `Problem`, or made from what
Starlette, FastAPI and SQLAlchemy raise. A problem's `type` is a relative URI below `/problems/`
where the API itself explains it. Details name what the client sent, never a path, a secret or a
stack of the server.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from api.http.allowed_methods import allowed
from api.http.validation import FieldError, field_errors, summary
from jobs import request_id
from jobs.cursors import InvalidCursor

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = "5"
log = structlog.get_logger(__name__)


class Kind(NamedTuple):
    """A kind of problem: its HTTP status, its title, and what the client can do."""

    status: int
    title: str
    remedy: str


KINDS: dict[str, Kind] = {
    "malformed-request": Kind(400, "The request cannot be read", "Send well-formed JSON in UTF-8."),
    "unauthorized": Kind(
        401, "The request needs a valid API key", "Send Authorization: Bearer and an API key."
    ),
    "not-local": Kind(
        403,
        "The service answers its own machine only",
        "Ask it on that machine, as localhost or 127.0.0.1.",
    ),
    "not-admin": Kind(
        403, "This is for admins", "Use a key made with `slimgpt keys create --admin`."
    ),
    "not-found": Kind(404, "There is nothing at this address", "See /docs for the addresses."),
    "job-not-found": Kind(404, "There is no such job", "List the jobs with GET /jobs."),
    "webhook-not-found": Kind(
        404, "There is no such webhook", "List the webhooks with GET /webhooks."
    ),
    "delivery-not-found": Kind(
        404,
        "The webhook has no such delivery",
        "List its deliveries with GET /webhooks/{id}/deliveries; old ones are removed.",
    ),
    "artifact-not-found": Kind(
        404, "The job has no such file", "List its files with GET /jobs/{id}/artifacts."
    ),
    "calibration-set-not-found": Kind(
        404, "There is no such calibration set", "List the sets with GET /calibration-sets."
    ),
    "method-not-allowed": Kind(
        405, "This address does not take that method", "The Allow header names those it takes."
    ),
    "upload-stalled": Kind(
        408, "The upload came too slowly", "Send it again, on a better connection."
    ),
    "job-not-finished": Kind(
        409, "The job has not finished", "Poll GET /jobs/{id}/status until it has succeeded."
    ),
    "job-finished": Kind(409, "The job is over", "A job that is over cannot be changed."),
    "job-without-result": Kind(
        409, "The job ended without a result", "GET /jobs/{id} says why; submit a new job."
    ),
    "calibration-set-in-use": Kind(
        409, "An unfinished job needs the calibration set", "Wait for its end, or cancel it."
    ),
    "uploads-full": Kind(
        409,
        "The owner keeps as much as they may",
        "Delete calibration sets that are not needed any more.",
    ),
    "artifacts-expired": Kind(
        410,
        "The job's files were kept long enough",
        "GET /jobs/{id}/report is there still; post the job again for new files.",
    ),
    "webhook-disabled": Kind(
        409, "The webhook is disabled", 'Enable it: PATCH /webhooks/{id} with {"enabled": true}.'
    ),
    "webhook-changed": Kind(
        409, "The webhook was changed by another request", "Look at it, and ask again if need be."
    ),
    "too-many-webhooks": Kind(
        409, "The owner has too many webhooks", "Delete one that is not needed any more."
    ),
    "body-too-large": Kind(413, "The request body is too large", "Send a smaller body."),
    "not-json": Kind(
        415, "The request body is not declared as JSON", "Send Content-Type: application/json."
    ),
    "not-text": Kind(
        415,
        "The body is not declared as text that can be read",
        "Send Content-Type: application/x-ndjson or text/plain, in UTF-8, not packed.",
    ),
    "range-not-satisfiable": Kind(
        416, "The range lies outside the file", "Ask for a range below the file's size."
    ),
    "invalid-request": Kind(
        422, "The request is not valid", "Correct the fields that `errors` points to."
    ),
    "invalid-calibration-set": Kind(
        422, "The text cannot be used", "Correct the line that `detail` names; nothing was kept."
    ),
    "plan-refused": Kind(
        422, "The job cannot be planned", "`detail` says what to change; so would the job fail."
    ),
    "model-not-cached": Kind(
        422,
        "The model is not on the API's machine",
        "Post the job: its plan is made first, and refuses early what cannot be done.",
    ),
    "idempotency-conflict": Kind(
        422,
        "The idempotency key was used for another request",
        "Use a new Idempotency-Key for a new request.",
    ),
    "too-many-requests": Kind(
        429, "Too many requests", "Wait as many seconds as Retry-After says."
    ),
    "too-many-streams": Kind(
        429,
        "The owner has too many streams of events open",
        "Close one, or poll GET /jobs/{id}/status.",
    ),
    "too-many-downloads": Kind(
        429, "The owner has too many downloads under way", "Wait until one is done."
    ),
    "too-many-jobs": Kind(
        429, "The owner has too many unfinished jobs", "Wait until one is over, or cancel one."
    ),
    "too-many-uploads": Kind(
        429, "The owner has too many uploads under way", "Wait until one is done."
    ),
    "headers-too-large": Kind(
        431, "The request's headers are too large", "Send a shorter address and fewer headers."
    ),
    "internal-error": Kind(
        500, "The service failed", "The service's log holds the reason under the reference."
    ),
    "storage-low": Kind(
        503, "The service has no room for new jobs", "Try again when its operator has made room."
    ),
    "webhooks-unavailable": Kind(
        503, "The service cannot sign webhooks", "Its operator sets SLIMGPT_KEY_PEPPER."
    ),
    "unavailable": Kind(
        503, "The service cannot answer now", "Try again later; GET /readyz names what is missing."
    ),
}
KIND_OF_STATUS = {
    400: "malformed-request",
    404: "not-found",
    405: "method-not-allowed",
    500: "internal-error",
    503: "unavailable",
}


class Problem(HTTPException):
    """An error of a known kind, to be raised anywhere below the application.

    Args:
        kind: a key of `KINDS`.
        detail: what is wrong with this request, in a sentence.
        errors: the fields at fault.
        headers: further response headers; 429 and 503 say when to come again in any case.
        extensions: further members of the document.
    """

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        extensions: Mapping[str, Any] | None = None,
    ) -> None:
        status = KINDS[kind].status
        wait = {"Retry-After": RETRY_SECONDS} if status in (429, 503) else {}
        super().__init__(status, detail, {**wait, **(headers or {})})
        self.kind = kind
        self.errors = errors
        self.extensions = extensions or {}


def document(request_path: str, problem: Problem) -> JSONResponse:
    """The response that carries a problem."""
    kind = KINDS[problem.kind]
    body: dict[str, Any] = {
        "type": f"/problems/{problem.kind}",
        "title": kind.title,
        "status": kind.status,
        "detail": problem.detail,
        "instance": quote(request_path, safe="/:@!$&'()*+,;=~-._"),
        **({"request_id": name} if (name := request_id.current()) else {}),
        **problem.extensions,
    }
    if problem.errors:
        body["errors"] = [error.model_dump() for error in problem.errors]
    return JSONResponse(body, kind.status, headers=problem.headers, media_type=MEDIA_TYPE)


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if isinstance(error, Problem):
        return document(request.url.path, error)
    details = {
        400: "the body cannot be read as JSON in UTF-8",
        404: f"nothing is served at {request.url.path}; see /docs",
        405: f"{request.url.path} does not take {request.method}",
    }
    headers = dict(error.headers or {})
    if "Allow" in headers:
        headers["Allow"] = ", ".join(allowed(request.app.routes, request.scope))
    kind = KIND_OF_STATUS.get(error.status_code)
    detail = details.get(error.status_code, str(error.detail))
    if kind is None:
        body = {"type": "about:blank", "title": detail, "status": error.status_code}
        return JSONResponse(body, error.status_code, headers, media_type=MEDIA_TYPE)
    return document(request.url.path, Problem(kind, detail, headers=headers))


async def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        reason = f"the body is not JSON: {first['ctx']['error']} at character {first['loc'][-1]}"
        return document(request.url.path, Problem("malformed-request", reason))
    errors = field_errors(error.errors(), error.body)
    return document(request.url.path, Problem("invalid-request", summary(errors), errors=errors))


async def _on_invalid_cursor(request: Request, error: Exception) -> JSONResponse:
    fault = FieldError(location="query", pointer="/cursor", message=str(error))
    return document(request.url.path, Problem("invalid-request", summary([fault]), errors=[fault]))


async def _on_database_error(request: Request, error: Exception) -> JSONResponse:
    log.error("database unavailable", path=request.url.path, error=type(error).__name__)
    problem = Problem(
        "unavailable", "the database does not answer; try again", headers={"Retry-After": "5"}
    )
    return document(request.url.path, problem)


async def _on_bug(request: Request, error: Exception) -> JSONResponse:
    reference = secrets.token_hex(6)
    log.error("request failed", reference=reference, path=request.url.path, error=repr(error))
    detail = f"the request failed inside the service; its log says why under {reference}"
    # This answer is made outside of what puts these into all others.
    headers = {request_id.HEADER: request_id.current() or "", "X-Content-Type-Options": "nosniff"}
    said = {"reference": reference}
    problem = Problem("internal-error", detail, headers=headers, extensions=said)
    return document(request.url.path, problem)


def install(app: FastAPI) -> None:
    """Make every error of the application a problem document."""
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(InvalidCursor, _on_invalid_cursor)
    app.add_exception_handler(OperationalError, _on_database_error)
    app.add_exception_handler(PoolTimeoutError, _on_database_error)
    app.add_exception_handler(Exception, _on_bug)
