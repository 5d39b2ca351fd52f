"""Progress in a real Redis, and without one."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from redis import Redis

from jobs.messages import circuit_breaker
from jobs.messages.progress import KEPT_SECONDS, Progress
from jobs.messages.progress import breaker as guard
from jobs.messages.redis_thread import QUEUED
from jobs.messages.snapshot import Snapshot, advance
from jobs.states import Status
from slimgpt.events import Event, Perplexity, StageFinished, StageStarted, parse
from slimgpt.events import Progress as Counted
from tests.jobs.conftest import PLAN, layer
from tests.progress import entries, snapshot
from tests.servers import RedisServer, free_port, wait_until

STORY: list[Event] = [
    StageStarted(stage="resolve"),
    StageFinished(stage="resolve", seconds=1.0),
    StageStarted(stage="plan"),
    PLAN,
    StageFinished(stage="plan", seconds=0.1),
    StageStarted(stage="prune"),
    *[layer(number, seconds=4.0) for number in range(4)],
    StageFinished(stage="prune", seconds=16.0),
    StageStarted(stage="evaluate"),
    Counted(stage="evaluate", done=1, total=2),
    Perplexity(text="t", sequence_length=128, tokens=9, dense=3.0, pruned=4.0),
    StageFinished(stage="evaluate", seconds=3.0),
    StageStarted(stage="verify"),
    StageFinished(stage="verify", seconds=1.0),
    StageStarted(stage="publish"),
    StageFinished(stage="publish", seconds=1.0),
]


@pytest.fixture
def progress(redis_url: str) -> Iterator[Progress]:
    made = Progress.connect(redis_url)
    yield made
    made.close()


def test_percent_rises_to_a_hundred_over_all_stages() -> None:
    seen, snapshot = [0.0], Snapshot()
    for event in STORY:
        snapshot = advance(snapshot, event)
        seen.append(snapshot.percent)
    assert seen == sorted(seen)
    assert seen[-1] == 100.0
    assert (snapshot.layers_done, snapshot.layers_total, snapshot.eta_seconds) == (4, 4, None)


def test_what_is_recorded_is_read(progress: Progress) -> None:
    assert snapshot(progress, "job_1") is None
    expected = Snapshot()
    for event in STORY[:8]:
        progress.record("job_1", event)
        expected = advance(expected, event)
    read = snapshot(progress, "job_1")
    assert read is not None
    assert read.updated_at is not None
    assert (read.stage, read.step, read.layers_done) == ("prune", "layer 2 of 4", 2)
    assert read.eta_seconds == pytest.approx(expected.eta_seconds, rel=0.5)
    fields = progress.redis.hgetall("slimgpt:job:job_1:progress")
    assert isinstance(fields, dict)
    assert (fields["stage"], fields["layers_done"], fields["layers_total"]) == ("prune", "2", "4")


def test_the_stream_repeats_every_event_from_where_one_left(progress: Progress) -> None:
    for event in STORY:
        progress.record("job_1", event)
    progress.record_status("job_1", Status.SUCCEEDED)
    told = entries(progress, "job_1")
    assert [parse(entry.data) for entry in told[:-1]] == STORY
    assert json.loads(told[-1].data) == {"type": "status", "status": "succeeded"}
    assert entries(progress, "job_1", told[4].id) == told[5:]
    assert entries(progress, "job_2") == []


def test_everything_expires(progress: Progress) -> None:
    progress.record("job_1", STORY[0])
    progress.settle()
    names = progress.redis.keys("*")
    assert isinstance(names, list)
    assert len(names) == 2
    assert all(0 < int(str(progress.redis.ttl(name))) <= KEPT_SECONDS for name in names)


def test_a_new_attempt_starts_from_nothing(progress: Progress) -> None:
    for event in STORY:
        progress.record("job_1", event)
    progress.start("job_1")
    assert snapshot(progress, "job_1") is None
    assert len(entries(progress, "job_1")) == len(STORY)
    progress.forget("job_1")
    assert entries(progress, "job_1") == []


def test_a_lost_redis_is_no_error() -> None:
    progress = Progress.connect(f"redis://127.0.0.1:{free_port()}/0")
    progress.record("job_1", STORY[0])
    progress.record_status("job_1", Status.RUNNING)
    progress.start("job_1")
    assert progress.request_of("job_1") == {}
    assert snapshot(progress, "job_1") is None
    assert entries(progress, "job_1") == []
    progress.close()


def test_it_goes_on_when_redis_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit_breaker, "PAUSE_SECONDS", 0.1)
    server = RedisServer()
    server.start()
    progress = Progress.connect(server.url)
    progress.record("job_1", layer(0))
    progress.settle()
    server.kill()
    progress.record("job_1", layer(1))  # this one finds out, and is lost
    wait_until(lambda: progress.away, "Redis is missed")
    progress.record("job_1", layer(2))
    progress.record_status("job_1", Status.CANCELLED)
    server.start()
    wait_until(lambda: len(entries(progress, "job_1")) == 2, "what waited is told")
    known = snapshot(progress, "job_1")
    assert known is not None
    assert (known.layers_done, known.layers_timed) == (3, 3)  # what was lost counts as well
    progress.close()
    server.close()


@pytest.fixture
def patient(redis_url: str) -> Iterator[Progress]:
    """One whose answers may take a minute: a test that waited for one would be stopped."""
    redis = Redis.from_url(redis_url, decode_responses=True, protocol=2, socket_timeout=60)
    made = Progress(redis, guard())
    yield made
    made.close()


def test_nobody_waits_for_a_redis_that_hangs(patient: Progress, redis_server: RedisServer) -> None:
    """Its process stands still: it takes connections and commands, and answers nothing."""
    progress = patient
    progress.start("job_1")
    progress.settle()
    with redis_server.frozen():
        for event in STORY:
            progress.record("job_1", event)
        assert progress.request_of("job_1") == {}
        progress.settle()
    wait_until(lambda: len(entries(progress, "job_1")) == len(STORY), "it is told afterwards")


def test_more_than_can_wait_is_lost_from_the_front(
    patient: Progress, redis_server: RedisServer
) -> None:
    progress = patient
    with redis_server.frozen():
        for number in range(2 * QUEUED):
            progress.record("job_1", Counted(stage="prune", done=number, total=2 * QUEUED))
    wait_until(
        lambda: f'"done":{2 * QUEUED - 1}' in entries(progress, "job_1")[-1].data, "the last"
    )
    assert len(entries(progress, "job_1")) <= QUEUED + 1


@pytest.mark.parametrize("torn", ["{", '{"stage": "prune", "from_a_later_version": 1}', "[]"])
def test_a_snapshot_that_cannot_be_read_is_as_none(progress: Progress, torn: str) -> None:
    progress.record("job", StageStarted(stage="plan"))
    progress.settle()
    key = next(key for key in progress.redis.scan_iter() if progress.redis.type(key) == "hash")
    progress.redis.hset(key, "snapshot", torn)
    assert snapshot(progress, "job") is None
    progress.record("job", StageStarted(stage="prune"))
    known = snapshot(progress, "job")
    assert known is not None
    assert known.stage == "prune"
