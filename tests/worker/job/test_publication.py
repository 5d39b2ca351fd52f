"""Publishing that hangs in the object store, and what ends it: cancel, shutdown, a lost lease."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jobs.files.artifacts import Artifacts
from jobs.settings import Settings
from jobs.states import Status
from tests.proxy import Proxy
from tests.servers import ObjectStore, wait_until
from tests.worker.conftest import Bench
from worker.job.supervisor import Outcome


@pytest.fixture
def proxy(object_store: ObjectStore) -> Iterator[Proxy]:
    with Proxy(object_store.port) as made:
        yield made


@pytest.fixture
def bench(
    settings: Settings, bucket_url: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    changes = {"artifacts_url": bucket_url, "share_layers": "off", "lease_seconds": 30.0}
    made = Bench(settings.model_copy(update=changes))
    yield made
    proxy.flow()
    made.close()


@pytest.mark.parametrize(
    ("why", "outcome", "status"),
    [
        ("cancel", Outcome.CANCELLED, Status.CANCELLED),
        ("shutdown", Outcome.RELEASED, Status.QUEUED),
        ("lost", Outcome.LOST, Status.RUNNING),
    ],
)
def test_a_publication_that_hangs_holds_nobody_up(
    bench: Bench,
    proxy: Proxy,
    object_store: ObjectStore,
    why: str,
    outcome: Outcome,
    status: Status,
) -> None:
    """The job ends while the store still hangs; when it answers again, nothing is left there."""
    job, bucket = bench.job(), bench.settings.artifacts_url.split("/")[2]
    supervisor = bench.supervisor("good")
    proxy.stall()
    outcomes = bench.beside(supervisor, job)
    assert proxy.stalled.wait(60)
    assert bench.again(job).stage == "publish"
    if why == "cancel":
        bench.store.request_cancel(job.id)
    elif why == "shutdown":
        bench.shutting_down = True
    else:
        bench.store.reap(bench.again(job).updated_at.replace(year=2100))
        assert bench.store.claim(job.id, "another") is not None
    assert wait_until(lambda: outcomes, "the supervisor ends", 20) == [outcome]
    assert not proxy.flowing
    ended = bench.again(job)
    assert (ended.status, ended.artifacts_prefix) == (status, None)
    proxy.flow()
    wait_until(lambda: not bench.transfers(), "the transfer has cleaned up", 120)
    assert object_store.keys(bucket) == []
    assert object_store.uploads(bucket) == []


def test_a_job_given_back_while_publishing_is_published_by_the_next(
    bench: Bench, proxy: Proxy, object_store: ObjectStore
) -> None:
    job = bench.job()
    proxy.stall()
    outcomes = bench.beside(bench.supervisor("good"), job)
    assert proxy.stalled.wait(60)
    bench.shutting_down = True
    assert wait_until(lambda: outcomes, "the supervisor ends", 20) == [Outcome.RELEASED]
    bench.shutting_down = False
    proxy.flow()
    assert bench.supervisor("good").run(job.id) is Outcome.SUCCEEDED
    assert [layer.resumed for layer in bench.store.layers(job.id)] == [True, True, True]
    done = bench.again(job)
    assert done.artifacts_prefix == f"jobs/{job.id}/2"
    artifacts = Artifacts(bench.settings.artifacts_url)
    with artifacts.open(done.artifacts_prefix, "model.safetensors") as file:
        assert file.read() == b"012"
