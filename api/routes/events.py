"""`GET /jobs/{id}/events`: a job's events as server-sent events.

The engine's events come from the job's stream in Redis under the stream's own ids, so that a
client which was cut off goes on with Last-Event-ID. Where the job stands comes from the store, as
`state` events without an id, and one of the name `end` closes every stream: also that of a job
whose events have expired, and while Redis is away. Between two looks nothing is held but the
connection: no thread, no database session.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from fastapi import APIRouter, Header
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api.auth import Caller
from api.dependencies import FoundStatus, ServicesDep
from api.key_watch import KeyWatch
from api.openapi import problems
from api.schemas.job_status import job_status
from api.schemas.jobs import StatusView
from api.services import Services
from jobs.messages.progress import Entry
from jobs.states import TERMINAL

LOOK_SECONDS = 0.5
ASK_STORE_EVERY = 4  # looks without news
EXAMPLE = """event: state
data: {"id": "job_01…", "status": "running", "stage": "prune", "layers_done": 7, "percent": 31.5}

id: 1795325400123-0
event: layer_finished
data: {"type": "layer_finished", "layer": 7, "layers_total": 32, "heads": 24, "seconds": 9.1}

event: end
data: {"id": "job_01…", "status": "succeeded", "stage": "publish", "percent": 100.0}
"""
router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.get(
    "/{job_id}/events",
    response_class=EventSourceResponse,
    responses={
        200: {
            "description": "`state`: the body of `/status`, at first and when it changed. The "
            "engine's events under their own types, with ids. `end`: the body of `/status` of a "
            "job that is over, always last. Comments keep the connection alive.",
            "content": {"text/event-stream": {"example": EXAMPLE}},
        },
        **problems(404, 422, 503),
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
            description="The last id that the client has seen: only later events are sent.",
        ),
    ] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Follow a job to its end. Close the connection when `end` came.

    A stream whose key is revoked is closed within half a minute, without an `end`.
    """
    key = KeyWatch(services.keys, caller)
    after, told, quiet = last_event_id or "0", "", ASK_STORE_EVERY
    while not await key.revoked():
        entries = await run_in_threadpool(services.progress.after, job.id, after)
        if entries or quiet >= ASK_STORE_EVERY:
            state = await run_in_threadpool(_state, services, job.id)
            quiet = 0
            if state is None:  # it was over, and deleted, between two looks
                yield ServerSentEvent(event="end", data={"id": job.id, "status": "deleted"})
                return
            if state.status in TERMINAL:
                async for event in _rest(services, state, entries, after):
                    yield event
                return
            if (body := state.model_dump_json()) != told:
                told = body
                yield ServerSentEvent(event="state", raw_data=body)
        for entry in entries:
            after = entry.id
            yield _sent(entry)
        quiet += 1
        await anyio.sleep(LOOK_SECONDS)


async def _rest(
    services: Services, state: StatusView, entries: list[Entry], after: str
) -> AsyncIterator[ServerSentEvent]:
    """Over: what is in the stream now is all there will be. Then the end.

    The stream is looked at once more even if nothing was there: the last events may have come
    between that look and the one at the store.
    """
    while True:
        for entry in entries:
            after = entry.id
            yield _sent(entry)
        entries = await run_in_threadpool(services.progress.after, state.id, after)
        if not entries:
            break
    yield ServerSentEvent(event="end", raw_data=state.model_dump_json())


def _state(services: Services, job_id: str) -> StatusView | None:
    job = services.store.status_row(job_id)
    return None if job is None else job_status(job, services.progress)


def _sent(entry: Entry) -> ServerSentEvent:
    return ServerSentEvent(id=entry.id, event=json.loads(entry.data)["type"], raw_data=entry.data)
