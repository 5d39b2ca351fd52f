"""A text of the user's own, from a file on another machine to the report: with the real engine, and
artifacts in a folder and in an object store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fork_server import ForkServer
from tests.up import ROOT, Up

SPEC: dict[str, Any] = {"model": "local:model", "ratio": 0.2}
SAMPLES, LENGTH = 8, 64


@pytest.fixture(params=["folder", "s3"])
def up(request: pytest.FixtureRequest, tmp_path: Path, fork_server: ForkServer) -> Iterator[Up]:
    """The service over the shipped model, without any text of its own."""
    settings = fork_server.engine()
    if request.param == "s3":
        settings["SLIMGPT_ARTIFACTS_URL"] = request.getfixturevalue("bucket_url")
    service = Up(tmp_path / "home", ["--models", str(ROOT / "examples")], settings)
    service.start()
    yield service
    service.close()


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A file of JSON lines outside the service's folders: this project's licence."""
    words = (ROOT / "LICENSE").read_text(encoding="utf-8").split("\n\n")
    path = tmp_path / "elsewhere" / "licence.jsonl"
    path.parent.mkdir()
    path.write_text("\n".join(json.dumps({"text": part}) for part in words), encoding="utf-8")
    return path


def test_a_file_is_uploaded_pruned_on_and_named_in_the_report(up: Up, rows: Path) -> None:
    options = ("--samples", str(SAMPLES), "--seq-len", str(LENGTH), "--eval-text", str(rows))
    submitted = up.run(
        *("submit", "--model", "local:model", "--ratio", "0.2", "--calibration", str(rows)),
        *(*options, "--eval-seq-len", "64", "--max-tokens", "256"),
    )
    assert submitted.returncode == 0, submitted.stderr
    (made,) = up.get("/calibration-sets")["items"]
    job_id = submitted.stdout.strip()
    status = up.await_status(job_id)
    assert status["status"] == "succeeded", status

    report = up.get(f"/jobs/{job_id}/report")
    digest = hashlib.sha256(rows.read_bytes()).hexdigest()
    assert report["spec"]["calibration"]["source"] == made["source"]
    source = report["calibration"]["source"]
    assert source.startswith(f"{made['source']}, {made['documents']:,} documents of JSON lines")
    assert source.endswith(f"sha256 {digest}")
    assert [measured["text"] for measured in report["perplexity"]] == [made["source"]]
    provenance = up.http.get(f"/jobs/{job_id}/artifacts/provenance.json")
    assert provenance.json()["spec"]["calibration"]["source"] == made["source"]
    for told in (json.dumps(report), provenance.text):
        assert str(up.home.parent) not in told

    assert up.http.get(made["links"]["content"]).content == rows.read_bytes()
    assert up.run("calibration", "delete", made["id"]).returncode == 0
    assert up.get("/calibration-sets")["items"] == []
    left = [path for path in up.home.rglob("*") if made["id"] in path.name]
    assert left == []

    again = up.http.post("/jobs", json={**SPEC, "calibration": {"source": made["source"]}})
    assert again.status_code == 422
