"""Following a job over server-sent events: what comes, in which order, and that it always ends."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from api.routes.events import EXAMPLE
from jobs.messages.progress import Entry, Progress
from jobs.settings import Settings
from jobs.states import Status
from jobs.store.store import Store
from slimgpt.events import StageStarted
from tests.api.routes.test_jobs import layer, post, run_two_of_four_layers
from tests.servers import RedisServer, wait_until

ERROR = {"code": "numerical-error", "message": "layer 2: not finite", "hint": "raise damping"}


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """The stream's events, read as the specification of server-sent events says."""
    event: dict[str, Any] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if line == "" and "data" in event:
            yield {**event, "data": json.loads(event["data"])}
            event = {}
        elif name:
            event[name] = value.removeprefix(" ")


def follow(api: httpx.Client, job_id: str, last: str | None = None) -> list[dict[str, Any]]:
    """All that comes until the service closes the stream."""
    headers = {"Last-Event-ID": last} if last else {}
    with api.stream("GET", f"/jobs/{job_id}/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        return list(events(answer.iter_lines()))


@pytest.fixture
def progress(settings: Settings) -> Iterator[Progress]:
    """The worker's side of the stream."""
    made = Progress.connect(settings.redis_url.get_secret_value())
    yield made
    made.close()


def failed_job(api: httpx.Client, store: Store, settings: Settings) -> str:
    job_id: str = post(api).json()["id"]
    epoch = run_two_of_four_layers(store, settings, job_id)
    store.fail(job_id, epoch, ERROR)
    return job_id


def test_a_job_is_followed_from_the_queue_to_its_end(
    api: httpx.Client, own_store: Store, settings: Settings, progress: Progress
) -> None:
    job_id = post(api).json()["id"]
    seen = []
    with api.stream("GET", f"/jobs/{job_id}/events") as answer:
        for event in events(answer.iter_lines()):
            seen.append(event)
            if event["event"] == "state" and event["data"]["status"] == "queued":
                epoch = run_two_of_four_layers(own_store, settings, job_id)
            elif event["event"] == "layer_finished" and event["data"]["layer"] == 1:
                progress.record(job_id, StageStarted(stage="verify"))
                own_store.fail(job_id, epoch, ERROR)
                progress.record_status(job_id, Status.FAILED)
    names = [event["event"] for event in seen]
    assert [name for name in names if name != "state"][:4] == [
        "planned",
        "stage_started",
        "layer_finished",
        "layer_finished",
    ]
    assert names[-1] == "end"
    assert seen[-1]["data"] == api.get(f"/jobs/{job_id}/status").json()
    assert seen[-1]["data"]["error"] == ERROR
    running = [e["data"] for e in seen if e["event"] == "state"][-1]
    assert (running["status"], running["layers_done"]) == ("running", 2)
    assert ["id" in event for event in seen] == [name not in ("state", "end") for name in names]


def test_a_client_that_was_cut_off_misses_nothing_and_sees_nothing_twice(
    api: httpx.Client, own_store: Store, settings: Settings, progress: Progress
) -> None:
    job_id = failed_job(api, own_store, settings)
    whole = follow(api, job_id)
    assert [event["event"] for event in whole] == [
        *("planned", "stage_started", "layer_finished", "layer_finished", "end")
    ]
    ids = [event["id"] for event in whole[:-1]]
    assert ids == [entry.id for entry in progress.events(job_id, block_ms=1)]
    for seen, last in enumerate(ids, start=1):
        assert follow(api, job_id, last) == whole[seen:]


def test_more_events_than_one_look_takes_all_come_once(
    api: httpx.Client, own_store: Store, settings: Settings, progress: Progress
) -> None:
    job_id = failed_job(api, own_store, settings)
    for number in range(1200):
        progress.record(job_id, layer(number, 1200))
    layers = [e["data"]["layer"] for e in follow(api, job_id) if e["event"] == "layer_finished"]
    assert layers == [0, 1, *range(1200)]


def test_events_between_the_look_at_the_stream_and_that_at_the_store_come_before_the_end(
    api: httpx.Client,
    own_store: Store,
    settings: Settings,
    progress: Progress,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id = post(api).json()["id"]
    look = Progress.after
    began = False

    def overtaken(self: Progress, job_id: str, after_id: str = "0", most: int = 500) -> list[Entry]:
        nonlocal began
        found = look(self, job_id, after_id, most)
        if not began:  # the job runs to its end while this answer is on its way
            began = True
            own_store.fail(job_id, run_two_of_four_layers(own_store, settings, job_id), ERROR)
        return found

    monkeypatch.setattr(Progress, "after", overtaken)
    names = [event["event"] for event in follow(api, job_id)]
    assert names == ["planned", "stage_started", "layer_finished", "layer_finished", "end"]


def test_a_job_that_left_no_stream_ends_with_its_state(
    api: httpx.Client, finished: dict[str, Any]
) -> None:
    (only,) = follow(api, finished["id"], "1795325400123-0")
    assert (only["event"], only["data"]["status"]) == ("end", "succeeded")


def test_a_job_cancelled_in_the_queue_ends_its_stream(api: httpx.Client) -> None:
    job_id = post(api).json()["id"]
    with api.stream("GET", f"/jobs/{job_id}/events") as answer:
        coming = events(answer.iter_lines())
        assert next(coming)["data"]["status"] == "queued"
        api.post(f"/jobs/{job_id}/cancel")
        assert [(e["event"], e["data"]["status"]) for e in coming] == [("end", "cancelled")]


def test_without_redis_the_state_comes_from_the_store(
    api: httpx.Client, own_store: Store, settings: Settings, redis_server: RedisServer
) -> None:
    job_id = post(api).json()["id"]
    epoch = run_two_of_four_layers(own_store, settings, job_id)
    redis_server.kill()
    try:
        with api.stream("GET", f"/jobs/{job_id}/events") as answer:
            coming = events(answer.iter_lines())
            state = next(coming)["data"]
            assert (state["status"], state["layers_done"]) == ("running", 2)
            own_store.fail(job_id, epoch, ERROR)
            assert [event["event"] for event in coming][-1] == "end"
    finally:
        redis_server.start()


def test_a_hundred_watchers_hold_no_threads_and_leave_nothing_behind(
    api: httpx.Client, base_url: str, redis_server: RedisServer
) -> None:
    job_id = post(api).json()["id"]
    limits = httpx.Limits(max_connections=100)
    many = httpx.Client(base_url=base_url, trust_env=False, limits=limits, timeout=60)
    with many, ExitStack() as open_streams, ThreadPoolExecutor(10) as pool:

        def watch(_: int) -> str:
            answer = open_streams.enter_context(many.stream("GET", f"/jobs/{job_id}/events"))
            return str(next(events(answer.iter_lines()))["event"])

        assert set(pool.map(watch, range(100))) == {"state"}
        # More streams than the server has threads, and it still answers.
        assert api.get(f"/jobs/{job_id}").status_code == 200

    with redis_server.client() as redis:

        def looks() -> int:
            statistics: Any = redis.info("commandstats")
            return int(statistics["cmdstat_xrange"]["calls"])

        before = looks()

        def silent() -> bool:
            nonlocal before
            last, before = before, looks()
            return last == before

        wait_until(lambda: not _moves(silent), "nobody looks any more")


def _moves(silent: Any) -> bool:
    """Whether any of several looks, longer apart together than two of a watcher, finds news."""
    for _ in range(4):
        time.sleep(0.25)
        if not silent():
            return True
    return False


@pytest.mark.parametrize("last", ["abc", "1-2-3", "-", "9" * 40, "1;DROP"])
def test_an_id_that_no_stream_has_is_refused(api: httpx.Client, last: str) -> None:
    job_id = post(api).json()["id"]
    answer = api.get(f"/jobs/{job_id}/events", headers={"Last-Event-ID": last})
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")


def test_an_unknown_job_has_no_events(api: httpx.Client) -> None:
    answer = api.get("/jobs/job_x/events")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/job-not-found")


def test_the_example_of_the_documentation_is_a_stream() -> None:
    assert [e["event"] for e in events(iter([*EXAMPLE.splitlines(), ""]))] == [
        *("state", "layer_finished", "end")
    ]
