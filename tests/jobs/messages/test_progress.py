"""Progress in a real Redis, and without one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from redis.exceptions import ConnectionError as RedisAway
from redis.exceptions import ResponseError

from jobs.messages.progress import KEPT_SECONDS, Progress, Snapshot, advance
from jobs.states import Status
from slimgpt.events import Event, Perplexity, StageFinished, StageStarted, parse
from slimgpt.events import Progress as Counted
from tests.jobs.conftest import PLAN, layer
from tests.servers import RedisServer, free_port

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


def test_time_left_follows_the_layers() -> None:
    snapshot = Snapshot()
    for event in STORY[:6]:
        snapshot = advance(snapshot, event)
    assert snapshot.eta_seconds is None
    snapshot = advance(advance(snapshot, layer(0, resumed=True)), layer(1, seconds=8.0))
    # 4 layers of 8 s are 80 percent of the job: 0.4 s a percent, 57 percent left.
    assert (snapshot.percent, snapshot.layer_seconds) == (43.0, 8.0)
    assert snapshot.eta_seconds == pytest.approx(0.4 * 57)


def test_time_left_of_a_tiny_model_follows_the_time_so_far() -> None:
    minute = datetime.now(UTC) - timedelta(seconds=60)
    before = Snapshot(percent=74.0, layers_total=4, layer_seconds=0.01, started_at=minute)
    after = advance(before, StageFinished(stage="prune", seconds=0.04))
    assert after.percent == 83.0
    assert after.eta_seconds == pytest.approx(60 / 83 * 17, rel=0.1)


def test_what_is_recorded_is_read(progress: Progress) -> None:
    assert progress.read("job_1") is None
    expected = Snapshot()
    for event in STORY[:8]:
        progress.record("job_1", event)
        expected = advance(expected, event)
    read = progress.read("job_1")
    assert read is not None
    assert read.updated_at is not None
    assert (read.stage, read.percent, read.eta_seconds) == ("prune", 43.0, expected.eta_seconds)
    fields = progress.redis.hgetall("slimgpt:job:job_1:progress")
    assert isinstance(fields, dict)
    assert (fields["stage"], fields["layers_done"], fields["layers_total"]) == ("prune", "2", "4")


def test_the_stream_repeats_every_event_from_where_one_left(progress: Progress) -> None:
    for event in STORY:
        progress.record("job_1", event)
    progress.record_status("job_1", Status.SUCCEEDED)
    entries = list(progress.events("job_1", block_ms=1))
    assert [parse(entry.data) for entry in entries[:-1]] == STORY
    assert json.loads(entries[-1].data) == {"type": "status", "status": "succeeded"}
    rest = list(progress.events("job_1", entries[4].id, block_ms=1))
    assert rest == entries[5:]
    assert list(progress.events("job_2", block_ms=1)) == []
    with pytest.raises(ResponseError):
        list(progress.events("job_1", "not-an-id", block_ms=1))


def test_everything_expires(progress: Progress) -> None:
    progress.record("job_1", STORY[0])
    names = progress.redis.keys("*")
    assert isinstance(names, list)
    assert len(names) == 2
    assert all(0 < int(str(progress.redis.ttl(name))) <= KEPT_SECONDS for name in names)


def test_a_new_attempt_starts_from_nothing(progress: Progress) -> None:
    for event in STORY:
        progress.record("job_1", event)
    progress.start("job_1")
    assert progress.read("job_1") is None
    assert len(list(progress.events("job_1", block_ms=1))) == len(STORY)
    progress.forget("job_1")
    assert list(progress.events("job_1", block_ms=1)) == []


def test_a_lost_redis_is_no_error_but_for_those_who_wait_for_events() -> None:
    progress = Progress.connect(f"redis://127.0.0.1:{free_port()}/0")
    progress.record("job_1", STORY[0])
    progress.record_status("job_1", Status.RUNNING)
    progress.start("job_1")
    assert progress.read("job_1") is None
    with pytest.raises(RedisAway):
        list(progress.events("job_1", block_ms=1))
    progress.close()


def test_it_goes_on_when_redis_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.messages.progress.PAUSE_SECONDS", 0.0)
    server = RedisServer()
    server.start()
    progress = Progress.connect(server.url)
    progress.record("job_1", layer(0))
    server.kill()
    progress.record("job_1", layer(1))
    server.start()
    progress.record("job_1", layer(2))
    snapshot = progress.read("job_1")
    assert snapshot is not None
    assert snapshot.layers_done == 3  # a layer's number says how many are done
    progress.close()
    server.close()


@pytest.mark.parametrize("torn", ["{", '{"stage": "prune", "from_a_later_version": 1}', "[]"])
def test_a_snapshot_that_cannot_be_read_is_as_none(progress: Progress, torn: str) -> None:
    progress.record("job", StageStarted(stage="plan"))
    key = next(key for key in progress.redis.scan_iter() if progress.redis.type(key) == "hash")
    progress.redis.hset(key, "snapshot", torn)
    assert progress.read("job") is None
    progress.record("job", StageStarted(stage="prune"))
    snapshot = progress.read("job")
    assert snapshot is not None
    assert snapshot.stage == "prune"
