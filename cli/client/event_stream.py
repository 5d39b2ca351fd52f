"""Client of a job's server-sent events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from cli.client.http import Service, ServiceError


def states(service: Service, job_id: str) -> Iterator[dict[str, Any]]:
    """The job's status, first and after every change; ends when the job has finished.

    Ends early if the service closes the stream; then call it again.

    Raises:
        ServiceError, UnreachableError: as `Service`.
    """
    headers = {"Accept": "text/event-stream"}
    with service.stream(f"/jobs/{job_id}/events", headers=headers) as answer:
        for name, data in _messages(answer.iter_lines()):
            if name in ("state", "end"):
                yield _object(data)
            if name == "end":
                return


def _messages(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Name and data of each event, parsed as the HTML standard defines; comments are skipped."""
    name = "message"
    data: list[str] = []
    for line in lines:
        field, _, value = line.partition(":")
        if line == "":
            if data:
                yield name, "\n".join(data)
            name, data = "message", []
        elif field == "event":
            name = value.removeprefix(" ")
        elif field == "data":
            data.append(value.removeprefix(" "))


def _object(data: str) -> dict[str, Any]:
    try:
        return dict(json.loads(data))
    except (ValueError, TypeError) as error:
        raise ServiceError("the service sent an event that is not JSON") from error
