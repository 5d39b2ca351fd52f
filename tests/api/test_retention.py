"""What clients see of files that were kept long enough, and of jobs that another version wrote."""

from __future__ import annotations

from typing import Any

import httpx
from sqlalchemy import select, update

from jobs.files.artifacts import Artifacts
from jobs.files.removal import sweep_job
from jobs.settings import Settings
from jobs.store.store import Store
from jobs.store.tables import JOBS
from tests.api.conftest import BODY

FILE = "model.safetensors"


def expire(store: Store, settings: Settings) -> None:
    """All files are too old, and removed."""
    assert store.expire_older(1e-9)
    for stale in store.unswept():
        assert sweep_job(stale, store, Artifacts(settings.artifacts_url))


def test_expired_files_are_gone_and_the_report_stays(
    api: httpx.Client, finished: dict[str, Any], own_store: Store, settings: Settings
) -> None:
    before = api.get(f"/jobs/{finished['id']}").json()
    assert before["artifacts_removed_at"] is None
    expire(own_store, settings)
    for path in ("", f"/{FILE}", "/nothing"):
        answer = api.get(f"/jobs/{finished['id']}/artifacts{path}")
        assert (answer.status_code, answer.json()["type"]) == (410, "/problems/artifacts-expired")
    assert api.get("/problems/artifacts-expired").json()["status"] == 410
    after = api.get(f"/jobs/{finished['id']}").json()
    assert after["artifacts_removed_at"] is not None
    assert after["status"] == "succeeded"
    assert api.get(f"/jobs/{finished['id']}/report").json() == {"ratio": 0.25, "by": "test"}
    assert not finished["folder"].exists()
    assert api.delete(f"/jobs/{finished['id']}").status_code == 204


def test_a_download_under_way_ends_whole_and_the_next_is_refused(
    api: httpx.Client, finished: dict[str, Any], own_store: Store, settings: Settings
) -> None:
    address = f"/jobs/{finished['id']}/artifacts/{FILE}"
    with api.stream("GET", address) as answer:
        chunks = answer.iter_bytes(4096)
        content = next(chunks)
        expire(own_store, settings)
        content += b"".join(chunks)
    assert content == finished["files"][FILE]
    assert api.get(address).status_code == 410


def test_a_job_of_another_version_is_listed_as_it_was_posted(
    api: httpx.Client, own_store: Store
) -> None:
    known, foreign = (api.post("/jobs", json=BODY).json()["id"] for _ in range(2))
    with own_store.engine.begin() as connection:
        here = JOBS.c.id == foreign
        spec = {**connection.execute(select(JOBS.c.spec).where(here)).scalar_one(), "bits": 4}
        connection.execute(update(JOBS).where(here).values(spec=spec))
    items = {item["id"]: item for item in api.get("/jobs").json()["items"]}
    assert items[foreign]["spec"] == items[known]["spec"]
    assert items[known]["spec"]["model"] == BODY["model"]
    jobs = [api.get(f"/jobs/{job}").json() for job in (known, foreign)]
    assert [job["spec_understood"] for job in jobs] == [True, False]
    assert jobs[1]["spec"] == spec
    assert api.get(f"/jobs/{foreign}/status").json()["status"] == "queued"
    assert api.post(f"/jobs/{foreign}/cancel").json()["status"] == "cancelled"


def test_polling_reads_no_more_than_it_tells(
    api: httpx.Client, finished: dict[str, Any], own_store: Store
) -> None:
    """A row can be megabytes; a thousand pollers ask for a few numbers of it."""
    status_row = own_store.status_row(finished["id"])
    assert status_row is not None
    told = api.get(f"/jobs/{finished['id']}/status").json()
    for name in ("id", "status", "stage", "attempt", "error", "layers_total"):
        assert told[name] == getattr(status_row, name)
    assert own_store.status_row(finished["id"], "somebody else") is None
