"""RFC 9457 problem documents: errors as responses, and the exception handlers.

Every error is sent as `application/problem+json`: raised as `Problem`, or converted from an
exception of Starlette, FastAPI or SQLAlchemy. A problem's `type` is a relative URI below
`/problems/`, where the API explains it. Details quote the request, never a path, a secret or a
stack trace of the server.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from api.http.allowed_methods import allowed
from api.http.problem_kinds import KINDS
from api.http.validation import FieldError, field_errors, summary
from jobs import request_id
from jobs.cursors import InvalidCursor

MEDIA_TYPE = "application/problem+json"
AWAY = (OperationalError, InterfaceError, InternalError, PoolTimeoutError)
"""Exceptions of a database that is unavailable, overloaded or shutting down."""
RETRY_SECONDS = "5"
log = structlog.get_logger(__name__)
KIND_OF_STATUS = {
    400: "malformed-request",
    404: "not-found",
    405: "method-not-allowed",
    500: "internal-error",
    503: "unavailable",
}


class Problem(HTTPException):
    """An error of a known kind; can be raised anywhere in the application.

    Args:
        kind: a key of `KINDS`.
        detail: what is wrong with this request, in a sentence.
        errors: the invalid fields.
        headers: further response headers; 429 and 503 always have Retry-After.
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
    """The response for a problem."""
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
        404: f"there is no path {request.url.path}; see /docs",
        405: f"{request.url.path} does not support {request.method}",
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


def of_database(path: str, error: DBAPIError | PoolTimeoutError) -> Problem:
    """The problem for a database error; the transaction has been rolled back.

    503 if the database is unavailable or overloaded, 422 for a value that it cannot store, which
    validation should have refused. Anything else is a defect.
    """
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    if lost or isinstance(error, AWAY):
        log.error("database unavailable", path=path, error=type(error).__name__)
        return Problem("unavailable", "the database does not answer; try again")
    if isinstance(error, DataError):
        log.error("the database refuses a value", path=path, error=repr(error.orig))
        return Problem("invalid-request", "the database cannot store a value of the request")
    return _bug(path, error)


def _bug(path: str, error: Exception) -> Problem:
    reference = secrets.token_hex(6)
    log.error("request failed", reference=reference, path=path, error=repr(error))
    detail = f"the request failed inside the service; its log has the reason under {reference}"
    return Problem("internal-error", detail, extensions={"reference": reference})


async def _on_database_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DBAPIError | PoolTimeoutError)
    return document(request.url.path, of_database(request.url.path, error))


async def _on_bug(request: Request, error: Exception) -> JSONResponse:
    answer = document(request.url.path, _bug(request.url.path, error))
    # This response is made outside the middleware that adds these headers.
    answer.headers[request_id.HEADER] = request_id.current() or ""
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer


def install(app: FastAPI) -> None:
    """Make every error of the application a problem document."""
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(InvalidCursor, _on_invalid_cursor)
    app.add_exception_handler(DBAPIError, _on_database_error)
    app.add_exception_handler(PoolTimeoutError, _on_database_error)
    app.add_exception_handler(Exception, _on_bug)
