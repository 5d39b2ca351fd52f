"""A job over HTTP: posted, found, listed, followed, cancelled."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from api.schemas.examples import JOBS as EXAMPLES
from jobs.messages.progress import Progress
from jobs.messages.queue import QUEUE
from jobs.settings import Settings
from jobs.store.store import Store
from slimgpt.events import LayerFinished, Planned, StageStarted
from slimgpt.spec.prune import PruneSpec
from tests.api.conftest import BODY
from tests.servers import RedisServer, wait_until


def post(api: httpx.Client, key: str | None = None, **changes: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return api.post("/jobs", json={**BODY, **changes}, headers=headers)


def layer(number: int, total: int = 4) -> LayerFinished:
    return LayerFinished(
        layer=number,
        layers_total=total,
        heads_before=8,
        heads=6,
        kv_heads_before=4,
        kv_heads=3,
        channels_before=64,
        channels=48,
        parameters_before=1000,
        parameters=750,
        attention_error=0.01,
        ffn_error=0.02,
        attention_damping=0.01,
        ffn_damping=0.01,
        seconds=2.0,
    )


def test_a_posted_job_is_stored_before_the_answer_and_then_sent(
    api: httpx.Client, own_store: Store, redis_server: RedisServer
) -> None:
    answer = post(api, metadata={"team": "search"})
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}" == job["links"]["self"]
    assert int(answer.headers["Retry-After"]) > 0
    stored = own_store.get(job["id"])
    assert stored is not None
    assert stored.spec == PruneSpec.model_validate(BODY)
    assert stored.metadata == {"team": "search"}
    assert api.get(answer.headers["Location"]).json()["spec"] == stored.spec.model_dump(mode="json")

    def sent() -> bool:
        found = own_store.get(job["id"])
        return found is not None and found.dispatched_at is not None

    wait_until(sent, "the job is dispatched")
    with redis_server.client() as redis:
        assert job["id"] in str(redis.lrange(QUEUE, 0, -1))


def test_the_examples_of_the_documentation_are_accepted(api: httpx.Client) -> None:
    assert api.post("/jobs", json=EXAMPLES[-1]).status_code == 202


def test_an_idempotency_key_makes_one_job_of_many_posts(
    api: httpx.Client, own_store: Store
) -> None:
    ids = {post(api, key="night-1").json()["id"] for _ in range(3)}
    assert len(ids) == 1
    assert len(own_store.list().items) == 1
    assert post(api).json()["id"] not in ids  # without a key every post is a job


def test_a_post_repeated_after_its_model_has_gone_gives_the_same_job(
    api: httpx.Client, settings: Settings
) -> None:
    first = post(api, key="night-1")
    (settings.models_root / "tiny").rename(settings.models_root / "moved")
    again = post(api, key="night-1")
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert post(api, key="night-2").json()["type"] == "/problems/invalid-request"
    assert post(api, key="night-1", ratio=0.5).json()["type"] == "/problems/idempotency-conflict"


@pytest.mark.parametrize("changes", [{"ratio": 0.5}, {"metadata": {"a": "b"}}])
def test_an_idempotency_key_refuses_another_body(
    api: httpx.Client, changes: dict[str, Any]
) -> None:
    post(api, key="night-1")
    answer = post(api, key="night-1", **changes)
    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/idempotency-conflict"


def test_pages_hold_every_job_once_newest_first(api: httpx.Client) -> None:
    posted = [post(api).json()["id"] for _ in range(7)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params = {"limit": "3"} | ({"cursor": cursor} if cursor else {})
        page = api.get("/jobs", params=params).json()
        seen += [job["id"] for job in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert sorted(seen, reverse=True) == seen
    assert set(seen) == set(posted)
    assert len(seen) == 7


def test_a_job_has_the_name_that_was_posted_or_one_by_model_and_target(api: httpx.Client) -> None:
    named = post(api, name="  for the phone ").json()
    assert named["name"] == api.get(f"/jobs/{named['id']}").json()["name"] == "for the phone"
    assert post(api).json()["name"] == "tiny, ratio 0.25"
    assert [job["name"] for job in api.get("/jobs").json()["items"]][1] == "for the phone"
    for wrong in ("", "  ", "a\nb", "x" * 129, 7):
        answer = post(api, name=wrong)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/name"


def test_the_list_is_searched_and_sorted_with_a_cursor_for_each_order(api: httpx.Client) -> None:
    for name in ("c team", "a team", "b team", "other"):
        post(api, name=name)

    def page(**parameters: str) -> tuple[list[str], str | None]:
        answer = api.get("/jobs", params={"search": "team", "sort": "name", **parameters})
        assert answer.status_code == 200, answer.text
        return [job["name"] for job in answer.json()["items"]], answer.json()["next_cursor"]

    first, cursor = page(limit="2")
    assert first == ["a team", "b team"]
    assert cursor is not None
    assert page(cursor=cursor) == (["c team"], None)
    assert page(sort="-name")[0] == ["c team", "b team", "a team"]
    assert page(search="TEAM b")[0] == ["b team"]
    assert page(search="")[0] == ["a team", "b team", "c team", "other"]
    for wrong in ({"sort": "-name", "cursor": cursor}, {"sort": "spec"}, {"sort": "--name"}):
        assert api.get("/jobs", params=wrong).status_code == 422


def test_the_list_filters_by_status(api: httpx.Client) -> None:
    kept, cancelled = post(api).json()["id"], post(api).json()["id"]
    api.post(f"/jobs/{cancelled}/cancel")

    def ids(*status: str) -> list[str]:
        page = api.get("/jobs", params=[("status", word) for word in status]).json()
        return [job["id"] for job in page["items"]]

    assert ids("cancelled") == [cancelled]
    assert ids("queued") == [kept]
    assert set(ids("queued", "cancelled")) == {kept, cancelled}
    assert ids("failed") == []


def test_the_list_filters_by_model_time_and_labels(api: httpx.Client) -> None:
    first = post(api, metadata={"team": "search", "night": "1"}).json()
    second = post(api, model="org/other", metadata={"team": "search"}).json()

    def ids(*parameters: tuple[str, str]) -> list[str]:
        answer = api.get("/jobs", params=parameters)
        assert answer.status_code == 200, answer.text
        return [job["id"] for job in answer.json()["items"]]

    assert ids(("model", "org/other")) == [second["id"]]
    assert ids(("metadata", "team=search")) == [second["id"], first["id"]]
    assert ids(("metadata", "team=search"), ("metadata", "night=1")) == [first["id"]]
    assert ids(("created_after", first["created_at"])) == [second["id"], first["id"]]
    assert ids(("created_before", first["created_at"])) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("created_after", "yesterday"),
        ("created_after", "2026-11-22T06:00:00"),  # in whose time zone?
        ("created_before", "0001-01-01T00:00:00+10:00"),
        ("created_before", "9999-12-31T23:59:59-10:00"),
        ("metadata", "team"),
        ("metadata", "=x"),
        ("metadata", "team=\0"),
        ("model", "\0"),
        ("model", "m" * 257),
    ],
)
def test_a_filter_that_cannot_be_read_is_named(api: httpx.Client, name: str, value: str) -> None:
    answer = api.get("/jobs", params={name: value})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith(f"/{name}")


def test_the_status_of_a_queued_job(api: httpx.Client) -> None:
    job_id = post(api).json()["id"]
    answer = api.get(f"/jobs/{job_id}/status")
    assert answer.json() == {
        "id": job_id,
        "status": "queued",
        "stage": None,
        "step": None,
        "layers_done": 0,
        "layers_total": None,
        "percent": 0.0,
        "eta_seconds": None,
        "queue_position": 1,
        "attempt": 0,
        "error": None,
    }
    for known in (answer.headers["ETag"], "*"):
        not_modified = api.get(f"/jobs/{job_id}/status", headers={"If-None-Match": known})
        assert (not_modified.status_code, not_modified.content) == (304, b"")


def run_two_of_four_layers(store: Store, settings: Settings, job_id: str) -> int:
    """What a worker writes until two layers are done. Returns its epoch."""
    claim = store.claim(job_id, "tester")
    assert claim is not None
    planned = Planned(
        parameters_before=100,
        parameters_after=75,
        ratio_achieved=0.25,
        layers=4,
        channel_multiple=8,
    )
    store.planned(job_id, claim.epoch, planned)
    store.stage(job_id, claim.epoch, "prune")
    progress = Progress.connect(settings.redis_url.get_secret_value())
    for event in (planned, StageStarted(stage="prune"), layer(0), layer(1)):
        progress.record(job_id, event)
        if isinstance(event, LayerFinished):
            store.layer_done(job_id, claim.epoch, event)
    progress.close()
    return claim.epoch


def test_the_status_of_a_running_job_comes_with_the_time_left(
    api: httpx.Client, own_store: Store, settings: Settings
) -> None:
    job_id = post(api).json()["id"]
    run_two_of_four_layers(own_store, settings, job_id)
    status = api.get(f"/jobs/{job_id}/status").json()
    assert (status["status"], status["stage"]) == ("running", "prune")
    assert (status["layers_done"], status["layers_total"]) == (2, 4)
    assert 0 <= status["percent"] < 100  # a moment of the hours that such a model takes
    assert status["eta_seconds"] > 0
    layers = api.get(f"/jobs/{job_id}/layers").json()["items"]
    assert [done["layer"] for done in layers] == [0, 1]
    assert LayerFinished.model_validate(layers[1]) == layer(1)


def test_without_redis_jobs_are_posted_and_the_row_gives_the_status(
    api: httpx.Client, own_store: Store, settings: Settings, redis_server: RedisServer
) -> None:
    running = post(api).json()["id"]
    run_two_of_four_layers(own_store, settings, running)
    redis_server.kill()
    try:
        assert post(api).status_code == 202
        status = api.get(f"/jobs/{running}/status").json()
        assert (status["status"], status["layers_done"]) == ("running", 2)
        assert 0 < status["percent"] < 100
        readiness = api.get("/readyz")
        assert (readiness.status_code, readiness.json()["checks"]["redis"]) == (503, "failed")
        assert api.get("/healthz").status_code == 200
    finally:
        redis_server.start()
    assert api.get("/readyz").json() == {
        "status": "ready",
        "checks": {"database": "ok", "redis": "ok", "artifacts": "ok"},
    }


def test_a_failed_job_says_why(api: httpx.Client, own_store: Store) -> None:
    job_id = post(api).json()["id"]
    claim = own_store.claim(job_id, "tester")
    assert claim is not None
    error = {"code": "calibration-error", "message": "the text is empty", "hint": "use another"}
    own_store.fail(job_id, claim.epoch, error)
    assert api.get(f"/jobs/{job_id}/status").json()["error"] == error
    assert api.get(f"/jobs/{job_id}").json()["error"] == error
    report = api.get(f"/jobs/{job_id}/report")
    assert report.status_code == 409
    assert "the text is empty" in report.json()["detail"]


def test_a_succeeded_job_has_a_report_and_a_result(
    api: httpx.Client, finished: dict[str, Any]
) -> None:
    here = f"/jobs/{finished['id']}"
    assert api.get(f"{here}/report").json() == {"ratio": 0.25, "by": "test"}
    assert api.get(f"{here}/status").json()["percent"] == 100.0
    assert api.get(here).json()["result"]["parameters_after"] == 75


def test_cancelling_twice_is_once_and_a_finished_job_stays(
    api: httpx.Client, own_store: Store, finished: dict[str, Any]
) -> None:
    queued, running = post(api).json()["id"], post(api).json()["id"]
    own_store.claim(running, "tester")
    for _ in range(2):
        assert api.post(f"/jobs/{queued}/cancel").json()["status"] == "cancelled"
        assert api.post(f"/jobs/{running}/cancel").json()["status"] == "cancelling"
    answer = api.post(f"/jobs/{finished['id']}/cancel")
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/job-finished")
