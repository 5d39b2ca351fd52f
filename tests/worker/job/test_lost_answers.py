"""Commits that were done and whose answer was lost: a real PostgreSQL behind a proxy that cuts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from jobs.settings import Settings
from jobs.states import Status
from jobs.store.reclaims import reclaim
from tests.proxy import Proxy
from tests.servers import PostgresServer, wait_until
from tests.worker.conftest import Bench
from worker.job.publication import Publication
from worker.job.supervisor import Outcome


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[Proxy]:
    with Proxy(postgres_server.port) as made:
        yield made


@pytest.fixture
def bench(
    settings: Settings, postgres_url: str, postgres_server: PostgresServer, proxy: Proxy
) -> Iterator[Bench]:
    url = postgres_url.replace(f":{postgres_server.port}/", f":{proxy.port}/")
    changes = {"database_url": SecretStr(url), "lease_seconds": 60.0, "engine_stop_seconds": 0.5}
    made = Bench(settings.model_copy(update=changes))
    yield made
    made.close()


@pytest.mark.parametrize(
    ("marker", "behaviour", "status", "epoch"),
    [
        ("attempt=(jobs.attempt + ", "good", Status.SUCCEEDED, 2),
        ("artifacts_prefix=", "good", Status.SUCCEEDED, 1),
        ("error=", "fail", Status.FAILED, 1),
    ],
)
def test_a_commit_whose_answer_was_lost_is_known_again(
    bench: Bench, proxy: Proxy, marker: str, behaviour: str, status: Status, epoch: int
) -> None:
    job = bench.job()
    proxy.swallow_commit_after(marker)
    assert str(bench.supervisor(behaviour).run(job.id)) == status
    assert proxy.cut.is_set()
    ended = bench.again(job)
    assert (ended.status, ended.lease_epoch, ended.attempt) == (status, epoch, 1)
    assert bench.work_folders() == ([job.id] if behaviour == "fail" else [])  # for a retry
    published = list(Path(bench.settings.artifacts_url).rglob("manifest.json"))
    assert len(published) == (status is Status.SUCCEEDED)


@pytest.mark.parametrize(
    ("why", "outcome", "status"),
    [
        ("cancel", Outcome.CANCELLED, Status.CANCELLED),
        ("shutdown", Outcome.RELEASED, Status.QUEUED),
    ],
)
def test_a_stop_whose_answer_was_lost_is_known_again(
    bench: Bench, proxy: Proxy, tmp_path: Path, why: str, outcome: Outcome, status: Status
) -> None:
    job = bench.job()
    outcomes = bench.beside(bench.supervisor("good", tmp_path / "gate"), job)
    wait_until(lambda: bench.again(job).layers_done == 1, "the first layer")
    if why == "cancel":
        bench.store.request_cancel(job.id)
        proxy.swallow_commit_after("finished_at=")
    else:
        proxy.swallow_commit_after("attempt=(jobs.attempt - ")
        bench.shutting_down = True
    assert wait_until(lambda: outcomes, "the supervisor ends", 60) == [outcome]
    assert proxy.cut.is_set()
    assert bench.again(job).status is status


def test_only_its_own_job_is_reclaimed(bench: Bench) -> None:
    job, supervisor = bench.job(), bench.supervisor("good")
    assert reclaim(bench.store, supervisor.worker) is None
    taken = bench.store.claim(job.id, supervisor.worker)
    assert taken is not None
    assert reclaim(bench.store, bench.supervisor("good").worker) is None
    again = reclaim(bench.store, supervisor.worker)
    assert again is not None
    assert (again.job.id, again.epoch, again.attempt) == (job.id, taken.epoch + 1, taken.attempt)
    assert again.lease_expires_at > taken.lease_expires_at


def test_of_several_leases_the_newest_is_reclaimed_and_no_other_prolonged(bench: Bench) -> None:
    """A worker may have let one run out that no reaper has seen to yet."""
    first, second = bench.job(), bench.job()
    for job in (first, second):
        assert bench.store.claim(job.id, "w")
    before = bench.again(first)
    again = reclaim(bench.store, "w")
    assert again is not None
    assert again.job.id == second.id
    assert bench.again(first) == before


def test_what_a_lost_attempt_still_does_to_its_files_is_not_done_to_those_of_a_reclaim(
    bench: Bench, tmp_path: Path
) -> None:
    """Its transfer hung in the store, and cleans up after itself when the job was done again."""
    job = bench.job()
    lost = bench.store.claim(job.id, "w")
    assert lost is not None
    again = reclaim(bench.store, "w")
    assert again is not None
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "model.safetensors").write_bytes(b"all")
    publication = Publication(bench.artifacts, bench.progress, again)
    bench.artifacts.put(publication.prefix, tmp_path / "checkpoint")
    Publication(bench.artifacts, bench.progress, lost).rollback()
    assert [file.path for file in bench.artifacts.list(publication.prefix)] == ["model.safetensors"]
    assert not bench.store.stage(job.id, lost.epoch, "publish")
