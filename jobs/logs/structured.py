"""Structured logging for every process: one line per entry on standard error.

Text from a client, an engine or a library cannot break an entry apart: JSON escapes all but ASCII;
the text format escapes unprintable characters and marks the lines of a traceback. Secrets are
masked in the finished line (`jobs.logs.redaction`), and repeated warnings are counted
(`jobs.logs.rate_limit`).
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

from jobs.logs.rate_limit import RateLimitHandler
from jobs.logs.redaction import configure_redaction, redact
from jobs.settings import Settings

SERVERS = ("uvicorn", "uvicorn.error", "uvicorn.access")
BLOCKS = ("exception", "stack")
MARGIN = "    | "


def configure_for(settings: Settings) -> None:
    """Configure logging from the settings, and mask their secrets."""
    configure_redaction(settings)
    configure(settings.log_level, as_json=settings.log_json)


def configure(level: str, *, as_json: bool) -> None:
    """Render the service's entries and those of libraries alike.

    Args:
        level: lowest level written, as in `Settings.log_level`.
        as_json: one JSON object per line, else aligned text.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = RateLimitHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                *_ending(as_json),
            ],
        )
    )
    logging.captureWarnings(True)  # as log entries
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in SERVERS:  # uvicorn has installed its own handlers
        server = logging.getLogger(name)
        server.handlers.clear()
        server.propagate = True
    # The API logs requests itself, with route names and without queries.
    logging.getLogger("uvicorn.access").disabled = True


def _ending(as_json: bool) -> list[Any]:
    if as_json:
        return [structlog.processors.JSONRenderer(), _without_secrets]
    # The default formatter shows local variables, which may be passwords and tokens.
    plain = structlog.dev.plain_traceback
    renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
    return [_on_one_line, renderer, _without_secrets]


def _without_secrets(_logger: Any, _method: str, line: str) -> str:
    return redact(line)


def _on_one_line(_logger: Any, _method: str, entry: EventDict) -> EventDict:
    """Escape line breaks and terminal control codes in the texts of an entry."""
    for name, value in entry.items():
        if name in BLOCKS and isinstance(value, str):
            entry[name] = "\n".join(MARGIN + printable(line) for line in value.split("\n"))
        elif isinstance(value, str):
            entry[name] = printable(value)
        elif not isinstance(value, int | float | None):
            entry[name] = printable(repr(value))
    return entry


def printable(text: str) -> str:
    """Escape unprintable characters: line breaks, escape codes, bidirectional marks."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
