"""A job's server-sent events: parsing, and resuming after a lost connection."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from urllib.parse import quote

from pydantic import ValidationError

from slimgpt.client.errors import ClientError, UnreachableError, WaitTimeoutError
from slimgpt.client.models.jobs import Status
from slimgpt.client.requests import TIMEOUT_SECONDS, Request
from slimgpt.events import AnyEvent, parse

PAUSE_SECONDS = 1.0
"""Between the end of a stream and the request for the rest."""
PATIENCE_SECONDS = 120.0


@dataclass(frozen=True)
class Outage:
    """The service has stopped answering, or answers again. The job does not depend on it.

    Attributes:
        since: when the client noticed.
        over: whether it answers again.
        patience: seconds for which the client goes on asking.
        reason: what it answered, if it did answer.
    """

    since: datetime
    over: bool
    patience: float
    reason: str

    def __str__(self) -> str:
        if self.over:
            return "the service answers again"
        cannot = f"cannot answer ({self.reason})" if self.reason else "cannot be reached"
        return (
            f"the service {cannot} since {self.since:%H:%M:%S}; asking again for up to "
            f"{self.patience:.0f} s"
        )


JobEvent = Status | Outage | AnyEvent


@dataclass
class Following:
    """What has been seen of a job's events, over all connections.

    Attributes:
        job_id: whose events.
        last_id: id of the last event; the next connection asks for later ones.
        deadline: on `time.monotonic`, when to give up the job; None: never.
        patience: seconds without any answer after which to give up the service.
        over: whether the job's last event has come.
        opened: whether the service has answered.
    """

    job_id: str
    last_id: str | None = None
    deadline: float | None = None
    patience: float = PATIENCE_SECONDS
    over: bool = False
    opened: bool = False
    _seen: Status | None = None
    _silent_since: float | None = None
    _outage: Outage | None = None
    _heard: bool = False
    _name: str = "message"
    _id: str | None = None
    _data: list[str] = field(default_factory=list)

    def request(self) -> Request:
        """The request for the events that have not come yet."""
        left = TIMEOUT_SECONDS
        if self.deadline is not None:
            left = max(0.1, min(left, self.deadline - time.monotonic()))
        headers = {"Accept": "text/event-stream"}
        if self.last_id:
            headers["Last-Event-ID"] = self.last_id
        self._heard = False
        self._name, self._id, self._data = "message", None, []
        return Request(
            path=f"/jobs/{quote(self.job_id, safe='')}/events", headers=headers, timeout=left
        )

    def feed(self, line: str) -> Iterator[JobEvent]:
        """The event that a line completes, if it does; states that repeat one are left out.

        Raises:
            ClientError: the line is not of such a stream.
            WaitTimeoutError: the deadline has passed.
        """
        self._require_time()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._name = value
        elif name == "id":
            self._id = value
        elif name == "data":
            self._data.append(value)
        elif line == "":
            yield from self._complete()

    def _complete(self) -> Iterator[JobEvent]:
        name, data = self._name, "\n".join(self._data)
        self.last_id = self._id or self.last_id
        self._name, self._id, self._data = "message", None, []
        if data:
            self._heard, self._silent_since = True, None
            if self._outage is not None:
                yield replace(self._outage, over=True)
                self._outage = None
        if name in ("state", "end"):
            self.over = name == "end"
            status = _status(data)
            if status != self._seen:
                self._seen = status
                yield status
        elif data:
            yield from _of_engine(data)

    def ended(self) -> Iterator[Outage]:
        """The connection has ended, which is as bad as if it failed where nothing has come.

        Raises:
            ClientError: nothing ever came, or not for too long.
        """
        if self._heard:
            return
        error = ClientError("the stream of the job's events was empty; is it a SlimGPT service?")
        if self._seen is None:
            raise error
        yield from self.lost(error)

    def lost(self, error: ClientError) -> Iterator[Outage]:
        """The connection failed. The service may be restarting; its jobs are kept.

        Yields:
            an outage, the first time that it fails.

        Raises:
            ClientError: it never answered, or not for too long.
            WaitTimeoutError: the deadline has passed.
        """
        self._require_time()
        self._silent_since = self._silent_since or time.monotonic()
        if not self.opened or time.monotonic() - self._silent_since > self.patience:
            raise error
        if self._outage is None:
            reason = "" if isinstance(error, UnreachableError) else str(error)
            now = datetime.now().astimezone()
            self._outage = Outage(now, over=False, patience=self.patience, reason=reason)
            yield self._outage

    def _require_time(self) -> None:
        if self.deadline is not None and time.monotonic() >= self.deadline:
            status = "" if self._seen is None else f", it is {self._seen.status}"
            raise WaitTimeoutError(f"job {self.job_id} has not finished in the given time{status}")


def _status(data: str) -> Status:
    try:
        return Status.model_validate_json(data)
    except ValidationError as error:
        raise ClientError("the service sent an event that is not a job's state") from error


def _of_engine(data: str) -> Iterator[JobEvent]:
    """The engine's event; nothing for a type that this version does not know."""
    try:
        json.loads(data)
    except ValueError as error:
        raise ClientError("the service sent an event that is not JSON") from error
    try:
        yield parse(data)
    except ValidationError:
        return
