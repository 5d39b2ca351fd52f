"""`client.jobs` and `client.calibration_sets` against a real API, synchronous and asynchronous."""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from jobs.messages.progress import Progress
from jobs.settings import Settings
from jobs.states import Status as JobStatus
from jobs.store.store import Store
from slimgpt.client import (
    ClientError,
    ConflictError,
    DamagedFileError,
    GoneError,
    InvalidRequestError,
    JobFailedError,
    NotFoundError,
    Status,
    UnreachableError,
    WaitTimeoutError,
)
from slimgpt.client.models.jobs import Artifact
from slimgpt.client.partial_file import require_inside
from slimgpt.events import LayerFinished, StageStarted
from slimgpt.spec.prune import CalibrationSpec, PruneSpec
from tests.api.conftest import BODY
from tests.api.routes.test_jobs import layer, run_two_of_four_layers
from tests.servers import free_port


def test_a_job_is_posted_as_fields_a_specification_or_json(client: Any, own_store: Store) -> None:
    spec = PruneSpec(model="local:tiny", ratio=0.25, calibration=CalibrationSpec(source="c4"))
    made = [
        client.jobs.create(**BODY),
        client.jobs.create(spec),
        client.jobs.create(BODY, metadata={"team": "search"}),
        client.jobs.create(model="local:tiny", ratio=0.25, calibration=spec.calibration),
    ]
    stored = [own_store.get(job.id) for job in made]
    assert all(job is not None and job.spec == spec for job in stored)
    assert made[2].metadata == {"team": "search"}
    assert client.jobs.create(BODY, ratio=0.5).spec["ratio"] == 0.5


def test_the_same_key_makes_one_job(client: Any) -> None:
    ids = {client.jobs.create(BODY, idempotency_key="night-1").id for _ in range(2)}
    ids |= {client.jobs.create(BODY).id}
    assert len(ids) == 2


def test_a_refusal_has_the_fields_of_the_problem(client: Any) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        client.jobs.create(model="local:tiny", ratio=1.5)
    error = refused.value
    assert (error.kind, error.status) == ("invalid-request", 422)
    assert [fault.pointer for fault in error.errors] == ["/ratio"]
    assert error.problem.instance == "/v1/jobs"
    assert error.request_id
    assert "ratio" in str(error)
    kind = client.problem_kind(error.kind)
    assert (kind.status, bool(kind.remedy)) == (422, True)
    with pytest.raises(NotFoundError, match="there is no job 'job_x'"):
        client.jobs.get("job_x")
    with pytest.raises(NotFoundError):
        client.jobs.status("../../healthz")


def test_jobs_are_listed_page_by_page(client: Any) -> None:
    ids = [client.jobs.create(BODY, metadata={"night": str(n % 2)}).id for n in range(5)]
    page = client.jobs.list(limit=2)
    assert [job.id for job in page.items] == ids[:2:-1]
    assert client.jobs.list(cursor=page.next_cursor, limit=1).items[0].id == ids[2]
    assert [job.id for job in client.jobs.all()] == ids[::-1]
    night = client.jobs.all(metadata={"night": "1"}, status=["queued", "running"])
    assert [job.id for job in night] == [ids[3], ids[1]]
    hour = datetime.now(UTC) - timedelta(hours=1)
    assert client.jobs.list(created_before=hour).items == []
    assert client.overview().jobs["queued"] == 5


def test_a_job_is_cancelled_retried_and_deleted(client: Any) -> None:
    job = client.jobs.create(BODY)
    assert client.jobs.cancel(job).status == "cancelled"
    assert client.jobs.retry(job, anew=True).status == "queued"
    with pytest.raises(ConflictError) as refused:
        client.jobs.delete(job)
    assert refused.value.kind == "job-not-finished"
    client.jobs.cancel(job)
    client.jobs.delete(job)
    with pytest.raises(NotFoundError):
        client.jobs.get(job)


def test_layers_report_and_files_of_a_finished_job(
    client: Any, publish_job: Any, own_store: Store, tmp_path: Path
) -> None:
    from tests.slimgpt.report.sample import report

    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "report.html").write_text("<h1>Report</h1>")
    content = report()
    job = publish_job(tmp_path / "made", content)
    found = client.jobs.report(job)
    assert found.raw == content
    assert found.perplexity[0].dense == content["perplexity"][0]["dense"]
    assert client.jobs.report_page(job) == "<h1>Report</h1>"
    (file,) = client.jobs.artifacts(job)
    assert (file.path, file.size) == ("report.html", 15)
    running = client.jobs.create(BODY)
    claim = own_store.claim(running.id, "tester")
    assert claim is not None
    own_store.layer_done(running.id, claim.epoch, layer(0))
    (done,) = client.jobs.layers(running)
    assert LayerFinished.model_validate(done.raw) == layer(0)
    with pytest.raises(ConflictError):
        client.jobs.report(running)


def test_a_download_continues_is_checked_and_appears_whole(
    client: Any, finished: dict[str, Any], tmp_path: Path
) -> None:
    partial = tmp_path / f"out.{finished['id']}.partial"
    partial.mkdir()
    content = finished["files"]["model.safetensors"]
    (partial / "model.safetensors").write_bytes(content[:1_000_003])
    where = client.jobs.download(finished["id"], tmp_path / "out")
    assert where == tmp_path / "out"
    assert {str(p.relative_to(where)): p.read_bytes() for p in where.rglob("*") if p.is_file()} == (
        finished["files"]
    )
    assert [entry.name for entry in tmp_path.iterdir() if "out" in entry.name] == ["out"]
    with pytest.raises(ClientError, match="not an empty folder"):
        client.jobs.download(finished["id"], tmp_path / "out")
    some = [file for file in client.jobs.artifacts(finished["id"]) if "json" in file.path]
    assert (
        len(list(client.jobs.download(finished["id"], tmp_path / "some", files=some).iterdir()))
        == 1
    )


def test_a_download_holds_the_files_of_its_list_and_of_no_other_job(
    client: Any, finished: dict[str, Any], publish_job: Any, tmp_path: Path
) -> None:
    """Of another job nothing is left between them, nor what this one has listed before."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_bytes(finished["files"]["config.json"])
    (tmp_path / "other" / "extra.bin").write_bytes(b"of the other job")
    other = publish_job(tmp_path / "other", {})
    torn = Artifact(path="nested/late.bin", size=9, sha256="0" * 64)
    with pytest.raises(ClientError):  # it has the first two files, and not the third
        client.jobs.download(other, tmp_path / "out", files=[*client.jobs.artifacts(other), torn])
    (config,) = [one for one in client.jobs.artifacts(finished["id"]) if one.path == "config.json"]
    for job, listed in ((finished["id"], None), (other, [config])):
        where = client.jobs.download(job, tmp_path / "out", files=listed)
        paths = {str(path.relative_to(where)) for path in where.rglob("*") if path.is_file()}
        assert paths == (set(finished["files"]) if listed is None else {"config.json"})
        assert not (where / "nested").exists() or listed is None
        shutil.rmtree(where)


def test_wrong_bytes_here_or_there_are_refused(
    client: Any, finished: dict[str, Any], own_store: Store, tmp_path: Path
) -> None:
    partial = tmp_path / f"out.{finished['id']}.partial"
    partial.mkdir()
    (partial / "model.safetensors").write_bytes(b"x" * 1000)
    with pytest.raises(DamagedFileError, match=r"model\.safetensors does not have the sha256"):
        client.jobs.download(finished["id"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    client.jobs.download(finished["id"], tmp_path / "out")  # what was wrong is gone
    content = finished["files"]["model.safetensors"]
    (finished["folder"] / "model.safetensors").write_bytes(content[:-1] + b"\0")
    with pytest.raises(DamagedFileError):
        client.jobs.download(finished["id"], tmp_path / "again")
    own_store.expire_older(1e-9)
    with pytest.raises(GoneError):
        client.jobs.artifacts(finished["id"])


@pytest.mark.parametrize("path", ["../up", "/etc/passwd", "a/../../b", "", "a\\b"])
def test_a_service_cannot_make_us_write_elsewhere(path: str) -> None:
    with pytest.raises(DamagedFileError):
        require_inside([Artifact(path=path, size=0, sha256="")])


def test_a_stream_has_states_and_events_to_the_end(
    client: Any, own_store: Store, settings: Settings
) -> None:
    job = client.jobs.create(BODY)
    epoch = run_two_of_four_layers(own_store, settings, job.id)
    progress = Progress.connect(settings.redis_url.get_secret_value())

    def work() -> None:
        time.sleep(0.3)
        progress.record(job.id, layer(2))
        own_store.layer_done(job.id, epoch, layer(2))
        own_store.fail(job.id, epoch, {"code": "numerical-error", "message": "not finite"})
        progress.record_status(job.id, JobStatus.FAILED)

    worker = threading.Thread(target=work)
    worker.start()
    events = list(client.jobs.stream(job))
    worker.join()
    progress.close()
    states = [event for event in events if isinstance(event, Status)]
    assert [states[0].status, states[-1].status] == ["running", "failed"]
    assert StageStarted(stage="prune") in events
    assert [event.layer for event in events if isinstance(event, LayerFinished)] == [0, 1, 2]
    with pytest.raises(JobFailedError, match="the job failed: not finite") as failed:
        client.jobs.wait(job)
    assert failed.value.job.error is not None
    assert failed.value.job.error.code == "numerical-error"
    assert client.jobs.wait(job, check=False).status == "failed"


def test_a_job_that_is_deleted_while_it_is_followed_ends(client: Any, api: httpx.Client) -> None:
    job = client.jobs.create(BODY)
    events = client.jobs.stream(job)
    assert next(events).status == "queued"
    api.post(f"/v1/jobs/{job.id}/cancel")
    api.delete(f"/v1/jobs/{job.id}").raise_for_status()
    assert [event.status for event in events][-1] in ("cancelled", "deleted")
    with pytest.raises(NotFoundError):
        client.jobs.wait(job)


def test_waiting_has_an_end(client: Any) -> None:
    job = client.jobs.create(BODY)
    began = time.monotonic()
    with pytest.raises(WaitTimeoutError, match="has not finished in the given time"):
        client.jobs.wait(job, timeout=1.0)
    assert isinstance(WaitTimeoutError("x"), TimeoutError)
    assert time.monotonic() - began >= 1.0


def test_texts_are_uploaded_checked_and_named(client: Any, tmp_path: Path) -> None:
    rows = tmp_path / "notes.jsonl"
    rows.write_text('{"text": "Once upon a time."}\n{"text": "The end."}\n')
    made = client.calibration_sets.upload(rows)
    assert (made.name, made.format, made.documents) == ("notes.jsonl", "jsonl", 2)
    assert made.sha256 == hashlib.sha256(rows.read_bytes()).hexdigest()
    assert client.calibration_sets.text(made.source) == rows.read_text()
    assert client.calibration_sets.list().items == [made]
    assert client.calibration_sets.get(made.id) == made
    client.calibration_sets.delete(made)
    assert client.calibration_sets.list().items == []
    rows.write_text('{"text": "Once upon a time."}\nnot JSON\n')
    with pytest.raises(ClientError, match="line 2"):
        client.calibration_sets.upload(rows)
    with pytest.raises(ClientError, match="cannot be read"):
        client.calibration_sets.upload(tmp_path / "none.txt")


def test_what_is_no_service_is_said(connect: Any, base_url: str) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(UnreachableError, match=f"no service answers at {url}.*slimgpt up"):
        connect(url, retries=0).jobs.list()
    for wrong in ("nonsense", "ftp://host", "http://"):
        with pytest.raises(ClientError):
            connect(wrong, retries=0).jobs.list()
    with pytest.raises(ClientError, match="invalid characters"):
        connect(base_url, api_key="ключ")


def test_the_environment_says_where_the_service_is(
    base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slimgpt.client import Client

    monkeypatch.setenv("SLIMGPT_URL", base_url + "/")
    monkeypatch.setenv("SLIMGPT_API_KEY", "slim_key")
    with Client() as client:
        assert client.url == base_url
        assert "slim_key" not in repr(client._transport.__dict__)
        assert client.overview().owner == "local"
    assert httpx.URL(base_url).port is not None
