"""Following a job over server-sent events: what comes, in which order, and that it always ends."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest

from api.routes.events import EXAMPLE
from api.streams.feed import RECENT, Feed
from api.streams.feeds import Feeds
from jobs.messages.progress import Progress, ProgressReader
from jobs.settings import Settings
from jobs.states import Status
from jobs.store.store import Store
from slimgpt.events import StageStarted
from tests.api.routes.test_jobs import layer, post, run_two_of_four_layers
from tests.progress import entries
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
    assert ids == [entry.id for entry in entries(progress, job_id)]
    for seen, last in enumerate(ids, start=1):
        assert follow(api, job_id, last) == whole[seen:]


def test_more_events_than_one_look_takes_all_come_once(
    api: httpx.Client, own_store: Store, settings: Settings, progress: Progress
) -> None:
    job_id = failed_job(api, own_store, settings)
    for number in range(1200):
        progress.record(job_id, layer(number, 1200))
        if number % 100 == 0:
            progress.settle()
    progress.settle()
    layers = [e["data"]["layer"] for e in follow(api, job_id) if e["event"] == "layer_finished"]
    assert layers == [0, 1, *range(1200)]


def test_events_between_the_look_at_the_stream_and_that_at_the_store_come_before_the_end(
    api: httpx.Client,
    own_store: Store,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id = post(api).json()["id"]
    look = ProgressReader.after
    began = False

    async def overtaken(self: ProgressReader, positions: dict[str, str]) -> Any:
        nonlocal began
        found = await look(self, positions)
        if not began:  # the job runs to its end while this answer is on its way
            began = True
            await asyncio.to_thread(run_to_its_end)
        return found

    def run_to_its_end() -> None:
        own_store.fail(job_id, run_two_of_four_layers(own_store, settings, job_id), ERROR)

    monkeypatch.setattr(ProgressReader, "after", overtaken)
    names = [event["event"] for event in follow(api, job_id) if event["event"] != "state"]
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


@contextmanager
def watchers(base_url: str, job_id: str, count: int, **options: Any) -> Iterator[httpx.Client]:
    """So many open streams of a job, each of which has heard its first event."""
    limits = httpx.Limits(max_connections=count)
    many = httpx.Client(base_url=base_url, trust_env=False, limits=limits, timeout=60, **options)
    held = []  # a reader that is let go closes its connection
    with many, ExitStack() as open_streams, ThreadPoolExecutor(10) as pool:

        def watch(_: int) -> str:
            answer = open_streams.enter_context(many.stream("GET", f"/jobs/{job_id}/events"))
            held.append(coming := events(answer.iter_lines()))
            return str(next(coming)["event"])

        assert set(pool.map(watch, range(count))) == {"state"}
        yield many


def questions(server: RedisServer) -> int:
    """Commands about streams and snapshots that Redis has carried out."""
    with server.client() as redis:
        counted: Any = redis.info("commandstats")
    names = ("xread", "xrange", "xrevrange", "hget", "hgetall")
    return sum(counted.get(f"cmdstat_{name}", {}).get("calls", 0) for name in names)


def test_a_hundred_watchers_cost_what_one_does_and_leave_nothing_behind(
    api: httpx.Client, base_url: str, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    look, rows = Feeds._look, Store.status_rows

    async def looked(self: Feeds, feeds: Sequence[Feed]) -> None:
        looks.append("Redis")
        await look(self, feeds)

    def asked(self: Store, job_ids: list[str]) -> Any:
        looks.append("store")
        return rows(self, job_ids)

    monkeypatch.setattr(Feeds, "_look", looked)
    monkeypatch.setattr(Store, "status_rows", asked)
    job_id = post(api).json()["id"]
    with watchers(base_url, job_id, 100):
        # More streams than the server has threads, and it still answers.
        assert api.get(f"/jobs/{job_id}").status_code == 200
        before = len(looks), questions(redis_server)
        wait_until(lambda: len(looks) - before[0] >= 8, "everybody has been looked after")
        made = questions(redis_server) - before[1]
    assert made <= 2 * len(looks)  # where a hundred would have made hundreds
    assert looks.count("store") <= looks.count("Redis")

    def silent() -> bool:
        before = questions(redis_server)
        time.sleep(1.2)  # longer than two looks take
        return questions(redis_server) == before

    wait_until(silent, "nobody looks any more")


def test_slow_and_quick_watchers_of_one_job_see_the_same(
    api: httpx.Client, base_url: str, own_store: Store, settings: Settings, progress: Progress
) -> None:
    """One reads nothing until far more has come than is kept for those who keep up."""
    job_id = post(api).json()["id"]
    epoch = run_two_of_four_layers(own_store, settings, job_id)
    with (
        httpx.Client(base_url=base_url, trust_env=False, timeout=60) as one,
        one.stream("GET", f"/jobs/{job_id}/events") as slow,
        ThreadPoolExecutor(1) as pool,
    ):
        quick = pool.submit(follow, api, job_id)
        for number in range(3 * RECENT):
            progress.record(job_id, layer(number, 3 * RECENT))
            if number % RECENT == 0:
                progress.settle()
                time.sleep(0.6)  # a look between
        progress.settle()
        own_store.fail(job_id, epoch, ERROR)
        ids = [event["id"] for event in quick.result() if "id" in event]
        assert ids == [entry.id for entry in entries(progress, job_id)]
        assert [event["id"] for event in events(slow.iter_lines()) if "id" in event] == ids


def test_an_id_from_the_future_holds_nobody_up(
    api: httpx.Client, own_store: Store, settings: Settings, base_url: str
) -> None:
    job_id = post(api).json()["id"]
    ahead = {"Last-Event-ID": "9999999999999999999-9"}
    with (
        httpx.Client(base_url=base_url, trust_env=False, timeout=60, headers=ahead) as one,
        one.stream("GET", f"/jobs/{job_id}/events") as answer,
    ):
        next(events(answer.iter_lines()))
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(follow, api, job_id)
            time.sleep(1)
            own_store.fail(job_id, run_two_of_four_layers(own_store, settings, job_id), ERROR)
            kinds = [event["event"] for event in other.result() if "id" in event]
        assert kinds == ["planned", "stage_started", "layer_finished", "layer_finished"]


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
