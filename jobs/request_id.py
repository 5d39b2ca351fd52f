"""The request id (`X-Request-ID`), carried from the API to worker and engine logs.

The API stores it in Redis under the job's id, and the worker reads it there: a worker takes the
oldest job, whichever the message names. It is optional; jobs run without it.
"""

from __future__ import annotations

import re
import secrets

import structlog

HEADER = "X-Request-ID"
FIELD = "request_id"
KEPT_SECONDS = 7 * 24 * 3600
_TOKEN = re.compile(r"[A-Za-z0-9._-]{1,64}")


def bind(wanted: str) -> str:
    """Bind the id to the log entries of this context; one that is not a plain token is replaced."""
    name = wanted if _TOKEN.fullmatch(wanted) else secrets.token_hex(8)
    structlog.contextvars.bind_contextvars(**{FIELD: name})
    return name


def current() -> str | None:
    """The request id of this context, if any."""
    name = structlog.contextvars.get_contextvars().get(FIELD)
    return name if isinstance(name, str) else None


def field(name: object) -> dict[str, str]:
    """The log field of a request id; empty if it is not valid (values from Redis are untrusted)."""
    return {FIELD: name} if isinstance(name, str) and _TOKEN.fullmatch(name) else {}


def key(job_id: str) -> str:
    """The Redis key of a job's request id."""
    return f"slimgpt:job:{job_id}:request"
