"""The name of a request: in the logs of every process that works for it.

It goes from the API to the worker through Redis, under the job's id: messages carry no more than
hints, and a worker takes whichever job is due. It is a hint as well; without it a job is done all
the same.
"""

from __future__ import annotations

import re
import secrets

import structlog

HEADER = "X-Request-ID"
FIELD = "request_id"
KEPT_SECONDS = 7 * 24 * 3600
_TOKEN = re.compile(r"[A-Za-z0-9._-]{1,64}")


def bind(wanted: str = "") -> str:
    """Name what this context logs from now on; a name that isn't a plain token is replaced."""
    name = wanted if _TOKEN.fullmatch(wanted) else secrets.token_hex(8)
    structlog.contextvars.bind_contextvars(**{FIELD: name})
    return name


def current() -> str | None:
    """The name that this context logs under, if it has one."""
    name = structlog.contextvars.get_contextvars().get(FIELD)
    return name if isinstance(name, str) else None


def field(name: object) -> dict[str, str]:
    """The field of log entries that names a request; none of what is no name.

    What lies in Redis came over the network.
    """
    return {FIELD: name} if isinstance(name, str) and _TOKEN.fullmatch(name) else {}


def key(job_id: str) -> str:
    """Where Redis keeps it."""
    return f"slimgpt:job:{job_id}:request"
