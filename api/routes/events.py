"""`GET /jobs/{id}/events`: a job's events as server-sent events.

The engine's events come from the job's stream in Redis and have the stream's ids, so that a client
can resume with Last-Event-ID. The job's state comes from the store as `state` events without an id.
Every stream ends with an event `end`, even if the events have expired or Redis is unavailable. A
stream holds its connection and a place in the job's feed (`api.streams.feeds`): no thread, no
database session, no connection to Redis.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from fastapi import APIRouter, Depends, Header, Response
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.responses import StreamingResponse

from api.auth import Caller
from api.dependencies import FoundStatus, ServicesDep, counted_stream
from api.openapi import problems
from api.schemas.job_status import status_now
from api.schemas.jobs import StatusView
from api.services import Services
from api.streams import key_revocations
from api.streams.feed import Feed, sent
from jobs.states import TERMINAL

PING_SECONDS = 15.0
SHORTEST_WAIT_SECONDS = 0.05
EXAMPLE = """event: state
data: {"id": "job_01…", "status": "running", "stage": "prune", "layers_done": 7, "percent": 31.5}

id: 1795325400123-0
event: layer_finished
data: {"type": "layer_finished", "layer": 7, "layers_total": 32, "heads": 24, "seconds": 9.1}

event: end
data: {"id": "job_01…", "status": "succeeded", "stage": "publish", "percent": 100.0}
"""
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # no buffering in nginx
router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.get(
    "/{job_id}/events",
    response_class=StreamingResponse,
    dependencies=[Depends(counted_stream)],
    responses={
        200: {
            "description": "`state`: the body of `/status`, first and after every change. The "
            "engine's events with their own types and ids. `end`: the body of `/status` of the "
            "finished job, always last. Comments keep the connection alive.",
            "content": {"text/event-stream": {"example": EXAMPLE}},
        },
        **problems(404, 422, 429, 503),
    },
)
async def follow_job(
    job: FoundStatus,
    services: ServicesDep,
    caller: Caller,
    last_event_id: Annotated[
        str | None,
        Header(
            pattern=r"^\d{1,19}(-\d{1,19})?$",
            description="The last id that the client received; only later events are sent.",
        ),
    ] = None,
) -> Response:
    """Follow a job to its end. Close the connection after the event `end`.

    If the key is revoked, the stream closes within half a minute without an `end`. The number of
    open streams is limited per owner (429) and process (503): then poll `/status`, or try again.
    """
    state = await status_now(job, services.reader)
    stream = _stream(services, state, last_event_id or "0", caller.key_id)
    return StreamingResponse(stream, headers=HEADERS, media_type="text/event-stream")


async def _stream(
    services: Services, state: StatusView, after: str, key_id: str | None
) -> AsyncIterator[bytes]:
    if state.status in TERMINAL:
        while page := (await services.reader.after({state.id: after}) or {}).get(state.id):
            after = page[-1].id
            yield b"".join(map(sent, page))
        yield format_sse_event(event="end", data_str=state.model_dump_json())
        return
    with services.feeds.follow(state) as feed:
        told, last = b"", time.monotonic()
        while not services.key_revocations.revoked(key_id):
            changed, events = feed.changed, b""
            if feed.end is None and feed.state != told:
                yield (told := feed.state)
            while (found := await _next(services, feed, after))[0]:
                events, after = found
                yield events
            if feed.end is not None:
                yield feed.end
                return
            last = time.monotonic() if events else last
            with anyio.move_on_after(_pause()):
                await changed.wait()
            if time.monotonic() - last >= PING_SECONDS:
                last = time.monotonic()
                yield KEEPALIVE_COMMENT


def _pause() -> float:
    """Longest wait for an event, before a keep-alive comment and a check of the key."""
    return max(SHORTEST_WAIT_SECONDS, min(PING_SECONDS, key_revocations.EVERY_SECONDS))


async def _next(services: Services, feed: Feed, after: str) -> tuple[bytes, str]:
    """The events after an id (empty: none yet), and the id of the last one."""
    if (here := feed.after(after)) is not None:
        return here
    # Far behind the feed: older events are only in Redis.
    found = await services.reader.after({feed.job_id: after})
    if found is None:
        return b"", after
    if page := found.get(feed.job_id):
        return b"".join(map(sent, page)), page[-1].id
    return feed.after(feed.since or after) or (b"", after)  # the events have expired
