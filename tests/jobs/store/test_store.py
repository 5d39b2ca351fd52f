"""Every transition and its guard, on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jobs.cursors import InvalidCursor
from jobs.states import TERMINAL, Status
from jobs.store.records import Claim, Job
from jobs.store.store import IdempotencyConflict, Store
from slimgpt.events import Warned
from slimgpt.spec.prune import PruneSpec, RecoverySpec, ScheduleSpec
from tests.jobs.conftest import PLAN, SPEC, layer

ERROR = {"code": "engine-killed", "message": "killed", "hint": "more memory"}
FAR = timedelta(days=1)


def claimed(store: Store) -> Claim:
    claim = store.claim(store.create(SPEC).id, "worker-1")
    assert claim is not None
    return claim


def now(store: Store, job_id: str) -> Job:
    job = store.get(job_id)
    assert job is not None
    return job


def later() -> datetime:
    return datetime.now(UTC) + FAR


def finish(store: Store, claim: Claim) -> bool:
    prefix = f"jobs/{claim.job.id}/{claim.epoch}"
    return store.finish(claim.job.id, claim.epoch, prefix=prefix, result={"a": 1}, report={"b": 2})


def test_a_new_job_is_queued(store: Store) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    job = store.create(SPEC, metadata={"team": "ä"}, owner="ann")
    assert job == store.get(job.id) == store.get(job.id, owner="ann")
    assert (job.spec, job.metadata, job.status) == (SPEC, {"team": "ä"}, Status.QUEUED)
    assert before < job.created_at <= datetime.now(UTC) + timedelta(seconds=1)
    assert job.created_at.tzinfo is not None
    assert (job.attempt, job.lease_epoch, job.started_at, job.error) == (0, 0, None, None)


def test_owners_see_only_their_own(store: Store) -> None:
    job = store.create(SPEC, owner="ann")
    assert store.get(job.id, owner="bob") is None
    assert store.list(owner="bob").items == []
    assert [found.id for found in store.list(owner="ann").items] == [job.id]
    assert store.report(job.id, owner="bob") is None


def test_the_same_key_and_body_is_the_same_job(store: Store) -> None:
    first = store.create(SPEC, metadata={"a": "b"}, owner="ann", idempotency_key="k")
    assert store.create(SPEC, metadata={"a": "b"}, owner="ann", idempotency_key="k") == first
    assert store.create(SPEC, owner="bob", idempotency_key="k").id != first.id
    assert store.create(SPEC, owner="ann").id != store.create(SPEC, owner="ann").id
    other = PruneSpec(model="local:tiny", ratio=0.4)
    with pytest.raises(IdempotencyConflict, match="'k' belongs to another request"):
        store.create(other, metadata={"a": "b"}, owner="ann", idempotency_key="k")
    with pytest.raises(IdempotencyConflict):
        store.create(SPEC, metadata={"a": "c"}, owner="ann", idempotency_key="k")


def test_a_job_is_called_as_its_owner_says_or_by_model_and_target(store: Store) -> None:
    assert store.create(SPEC, name="for the phone").name == "for the phone"
    assert store.create(SPEC).name == "tiny, ratio 0.5"
    sizes = {"model": "org/name@main", "ratio": None, "parameters": 5_400_000_000}
    assert store.create(SPEC.model_copy(update=sizes)).name == "name@main, 5.4B parameters"
    long = store.create(SPEC.model_copy(update={"model": f"local:{'x' * 200}"}))
    assert long.name == "x" * 127 + "…"
    assert [job.name for job in store.list(limit=1).items] == [long.name]


def test_the_name_belongs_to_what_an_idempotency_key_stands_for(store: Store) -> None:
    first = store.create(SPEC, name="a", idempotency_key="k")
    assert store.create(SPEC, name="a", idempotency_key="k") == first
    for name in ("b", None):
        with pytest.raises(IdempotencyConflict):
            store.create(SPEC, name=name, idempotency_key="k")
    unnamed = store.create(SPEC, idempotency_key="l")
    assert store.create(SPEC, idempotency_key="l") == unnamed


def test_lists_page_by_page_newest_first(store: Store) -> None:
    ids = sorted((store.create(SPEC).id for _ in range(7)), reverse=True)
    seen, cursor = [], None
    for size in (3, 3, 1):
        page = store.list(limit=3, cursor=cursor)
        assert len(page.items) == size
        seen += [job.id for job in page.items]
        store.create(SPEC)  # a job that comes meanwhile moves nothing
        cursor = page.next_cursor
    assert cursor is None
    assert seen == ids


def test_lists_filter_by_status(store: Store) -> None:
    claim = claimed(store)
    store.create(SPEC)
    assert [job.id for job in store.list(status=Status.RUNNING).items] == [claim.job.id]
    assert len(store.list(status=[Status.RUNNING, Status.QUEUED]).items) == 2
    assert store.list(status=TERMINAL).items == []


@pytest.mark.parametrize(
    "error", [{"code": "c", "message": "m"}, {"code": "c", "message": "m", "hint": "h"}]
)
def test_a_failure_is_listed_as_it_was_written(store: Store, error: dict[str, str]) -> None:
    claim = claimed(store)
    assert store.fail(claim.job.id, claim.epoch, error)
    assert [job.error for job in store.list().items] == [error]


@pytest.mark.parametrize("cursor", ["", "!", "äöü", "am9i", "' OR 1=1 --", "a" * 1000])
def test_foreign_cursors_are_refused(store: Store, cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        store.list(cursor=cursor)


def test_a_claim_takes_the_job_once(store: Store) -> None:
    job = store.create(SPEC)
    claim = store.claim(job.id, "worker-1")
    assert claim is not None
    assert (claim.epoch, claim.attempt, claim.job.worker) == (1, 1, "worker-1")
    assert claim.job.status is Status.RUNNING
    assert timedelta(seconds=50) < claim.lease_expires_at - claim.job.updated_at
    assert store.claim(job.id, "worker-2") is None
    assert store.claim("job_unknown", "worker-2") is None


def test_renewal_prolongs_and_tells_of_a_cancel(store: Store) -> None:
    claim = claimed(store)
    renewal = store.renew(claim.job.id, claim.epoch)
    assert renewal is not None
    assert renewal.lease_expires_at >= claim.lease_expires_at
    assert not renewal.cancel_requested
    store.request_cancel(claim.job.id)
    assert [
        found is not None and found.cancel_requested
        for found in (store.renew(claim.job.id, 1), store.look(claim.job.id, 1))
    ] == [True, True]
    assert store.renew(claim.job.id, 2) is None
    assert store.look(claim.job.id, 2) is None


def test_what_the_engine_says_is_kept(store: Store) -> None:
    claim = claimed(store)
    job_id, epoch = claim.job.id, claim.epoch
    assert store.stage(job_id, epoch, "prune")
    assert store.planned(job_id, epoch, PLAN)
    assert store.layer_done(job_id, epoch, layer(0))
    assert store.layer_done(job_id, epoch, layer(1))
    assert store.layer_done(job_id, epoch, layer(1, seconds=3.0))  # told twice
    for message in ("a", "b", "a"):
        assert store.warn(job_id, epoch, Warned(message=message, layer=1))
    job = now(store, job_id)
    assert (job.stage, job.layers_done, job.layers_total) == ("prune", 2, 4)
    assert job.plan == {**PLAN.model_dump(), "type": "planned"}
    assert [warning["message"] for warning in job.warnings] == ["a", "b"]
    first, second = store.layers(job_id)
    assert (first.layer, first.epoch, first.parameters) == (0, 1, 2_500_000_000)
    assert (first.attention_error, second.seconds) == (0.125, 3.0)
    assert first.finished_at.tzinfo is not None


def test_finish_points_at_the_files(store: Store) -> None:
    claim = claimed(store)
    assert finish(store, claim)
    job = now(store, claim.job.id)
    assert (job.status, job.artifacts_prefix) == (Status.SUCCEEDED, f"jobs/{job.id}/1")
    assert (job.result, store.report(job.id)) == ({"a": 1}, {"b": 2})
    assert (job.worker, job.lease_expires_at) == (None, None)
    assert job.finished_at is not None
    assert job.finished_at >= job.created_at


def test_numbers_that_json_lacks_become_null(store: Store) -> None:
    claim = claimed(store)
    report = {"perplexity": float("inf"), "layers": [{"error": float("nan")}]}
    assert store.finish(claim.job.id, 1, prefix="p", result={}, report=report)
    assert store.report(claim.job.id) == {"perplexity": None, "layers": [{"error": None}]}


def test_failure_keeps_the_reason(store: Store) -> None:
    claim = claimed(store)
    assert store.fail(claim.job.id, claim.epoch, ERROR)
    job = now(store, claim.job.id)
    assert (job.status, job.error, job.worker) == (Status.FAILED, ERROR, None)


def test_release_gives_the_attempt_back(store: Store) -> None:
    claim = claimed(store)
    store.dispatched(claim.job.id)
    assert store.release(claim.job.id, claim.epoch)
    job = now(store, claim.job.id)
    assert (job.status, job.attempt, job.lease_epoch) == (Status.QUEUED, 0, 1)
    assert (job.worker, job.lease_expires_at, job.dispatched_at) == (None, None, None)
    again = store.claim(job.id, "worker-2")
    assert again is not None
    assert (again.epoch, again.attempt) == (2, 1)


def test_cancel_of_a_queued_job_is_immediate(store: Store) -> None:
    job = store.request_cancel(store.create(SPEC).id)
    assert job is not None
    assert (job.status, job.cancel_requested) == (Status.CANCELLED, True)
    assert job.finished_at is not None
    assert store.claim(job.id, "worker-1") is None


def test_cancel_of_a_running_job_waits_for_its_worker(store: Store) -> None:
    claim = claimed(store)
    for _ in range(2):  # asking twice is asking once
        asked = store.request_cancel(claim.job.id)
        assert asked is not None
        assert (asked.status, asked.finished_at) == (Status.CANCELLING, None)
    assert not finish(store, claim)  # the cancel came first
    assert not store.fail(claim.job.id, claim.epoch, ERROR)
    assert not store.release(claim.job.id, claim.epoch)
    assert store.layer_done(claim.job.id, claim.epoch, layer(0))  # the record goes on
    assert store.cancelled(claim.job.id, claim.epoch)
    assert now(store, claim.job.id).status is Status.CANCELLED


def test_cancel_of_a_finished_job_changes_nothing(store: Store) -> None:
    claim = claimed(store)
    finish(store, claim)
    before = now(store, claim.job.id)
    assert store.request_cancel(claim.job.id) == before
    assert store.request_cancel("job_unknown") is None


def test_an_old_epoch_writes_nothing(store: Store) -> None:
    old = claimed(store)
    job_id = old.job.id
    store.layer_done(job_id, 1, layer(0))
    store.reap(later())
    new = store.claim(job_id, "worker-2")
    assert new is not None
    before = now(store, job_id)
    assert before.layers_done == 0  # counted anew: another machine has nothing of it
    assert store.renew(job_id, 1) is None
    assert not store.stage(job_id, 1, "verify")
    assert not store.planned(job_id, 1, PLAN)
    assert not store.layer_done(job_id, 1, layer(1))
    assert not store.warn(job_id, 1, Warned(message="late"))
    assert not finish(store, old)
    assert not store.fail(job_id, 1, ERROR)
    assert not store.release(job_id, 1)
    store.request_cancel(job_id)
    assert not store.cancelled(job_id, 1)
    after = now(store, job_id)
    assert (after.lease_epoch, after.worker, after.plan) == (2, "worker-2", None)
    assert [found.layer for found in store.layers(job_id)] == [0]
    assert store.layer_done(job_id, 2, layer(0, resumed=True))
    assert [(f.epoch, f.resumed) for f in store.layers(job_id)] == [(2, True)]
    assert now(store, job_id).layers_done == 1


@pytest.mark.parametrize("end", ["finish", "fail", "cancelled"])
def test_an_end_is_final(store: Store, end: str) -> None:
    claim = claimed(store)
    job_id = claim.job.id
    if end == "finish":
        finish(store, claim)
    elif end == "fail":
        store.fail(job_id, 1, ERROR)
    else:
        store.request_cancel(job_id)
        store.cancelled(job_id, 1)
    before = now(store, job_id)
    assert before.terminal
    assert not finish(store, claim)
    assert not store.fail(job_id, 1, ERROR)
    assert not store.cancelled(job_id, 1)
    assert not store.release(job_id, 1)
    assert not store.dispatched(job_id)
    assert store.renew(job_id, 1) is None
    assert store.claim(job_id, "worker-2") is None
    assert store.reap(later()) == []
    assert now(store, job_id) == before


def test_reaping_returns_the_jobs_of_silent_workers(store: Store) -> None:
    claim = claimed(store)
    queued = store.create(SPEC)
    assert store.reap() == []
    reaped = store.reap(later())
    assert [(found.id, found.status, found.attempt) for found in reaped] == [
        (claim.job.id, Status.QUEUED, 1)
    ]
    assert store.reap(later()) == []
    assert now(store, queued.id).queued_at == queued.queued_at


def test_the_last_silent_attempt_fails_the_job(store: Store) -> None:
    job = store.create(SPEC)
    for attempt in (1, 2, 3):
        claim = store.claim(job.id, "worker-1")
        assert claim is not None
        assert claim.attempt == attempt
        (reaped,) = store.reap(later())
    assert reaped.status is Status.FAILED
    failed = now(store, job.id)
    assert failed.error is not None
    assert failed.error["code"] == "worker-lost"
    assert store.claim(job.id, "worker-1") is None


def test_reaping_ends_a_cancelled_job(store: Store) -> None:
    claim = claimed(store)
    store.request_cancel(claim.job.id)
    assert [found.status for found in store.reap(later())] == [Status.CANCELLED]


def test_leases_expire_by_the_clock_of_the_database(store: Store) -> None:
    short = Store(store.engine, lease_seconds=0.001)
    claim = short.claim(store.create(SPEC).id, "worker-1")
    assert claim is not None
    while not (reaped := store.reap()):
        pass
    assert reaped[0].id == claim.job.id


def test_the_outbox_finds_messages_that_are_missing(store: Store) -> None:
    sent, unsent, running = (store.create(SPEC) for _ in range(3))
    store.claim(running.id, "worker-1")
    assert store.dispatched(sent.id)
    assert not store.dispatched(running.id)
    assert store.undispatched(0) == [unsent.id]
    assert store.undispatched(60) == []
    assert store.awaited() == 1
    assert store.unanswered(60, 10) == []
    assert store.unanswered(0, 10) == [sent.id]
    assert store.dispatched(unsent.id)
    assert store.unanswered(0, 1) == [sent.id]
    assert store.unanswered(0, 2) == [sent.id, unsent.id]


def test_what_strangers_wrote_is_kept_by_every_database(store: Store) -> None:
    claim = claimed(store)
    job_id, epoch = claim.job.id, claim.epoch
    assert store.warn(job_id, epoch, Warned(message="named 'a\0b'"))
    assert store.fail(job_id, epoch, {"code": "c", "message": "x\0y", "hint": r"a \u0000 of text"})
    failed = store.get(job_id)
    assert failed is not None
    assert failed.error == {"code": "c", "message": "x\ufffdy", "hint": r"a \u0000 of text"}
    assert failed.warnings == [{"message": "named 'a\ufffdb'", "layer": None}]


@given(
    ratio=st.floats(0, 1, exclude_max=True),
    alpha=st.floats(0, 1e6, exclude_min=True),
    damping=st.floats(0, 1, exclude_min=True),
    ratios=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=5),
    samples=st.integers(1, 10**9),
)
@example(ratio=-0.0, alpha=5e-324, damping=5e-324, ratios=[2**-1074, 1 - 2**-53], samples=10**9)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_number_that_is_legal_comes_back_from_every_database(
    store: Store, ratio: float, alpha: float, damping: float, ratios: list[float], samples: int
) -> None:
    spec = PruneSpec(
        model="local:tiny",
        ratio=ratio,
        damping=damping,
        recovery=RecoverySpec(alpha=alpha, samples=samples),
        schedule=ScheduleSpec(shape="explicit", ratios=tuple(ratios)),
    )
    job = store.create(spec)
    assert job.spec == spec
    assert store.list(limit=1).items[0].spec.ratio == ratio


@pytest.mark.parametrize("target", [{"parameters": 10**15}, {"memory": 2**60}])
def test_the_largest_targets_come_back(store: Store, target: dict[str, Any]) -> None:
    spec = PruneSpec(model="local:tiny", **target)
    assert store.create(spec).spec == spec
    (job,) = store.list().items
    assert (job.spec.parameters, job.spec.memory) == (spec.parameters, spec.memory)
    assert job.spec.target == spec.target
