"""The first job, end to end: a real model, plain HTTP, a checkpoint that loads, and bad inputs.

One `slimgpt up` serves all tests here; nothing is imported from the service.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser import Visit, open_browser
from tests.up import ROOT, Up

TEXT_BYTES = 150_000
SPEC: dict[str, Any] = {
    "model": "local:stories260K",
    "ratio": 0.25,
    "schedule": {"shape": "log"},
    "calibration": {
        "source": "local:stories.txt",
        "samples": 16,
        "sequence_length": 128,
        "seed": 0,
    },
    "evaluation": {"texts": ["held-out"], "sequence_lengths": [128], "max_tokens": 2048},
    "metadata": {"purpose": "first job"},
}
LOAD = """
import json, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
torch.set_num_threads(1)
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
ids = tokenizer("Once upon a time, there was", return_tensors="pt").input_ids
with torch.no_grad():
    finite = bool(torch.isfinite(model(ids).logits).all())
text = tokenizer.decode(model.generate(ids, max_new_tokens=8, do_sample=False)[0])
count = sum(p.numel() for p in {id(p): p for p in model.parameters()}.values())
print(json.dumps({"parameters": count, "finite": finite, "text": text}))
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Up]:
    """The service over stories260K, some broken copies of it, and some texts."""
    folder = tmp_path_factory.mktemp("first-job")
    models, texts = folder / "models", folder / "texts"
    _write_models(models, shared / "models" / "stories260K")
    texts.mkdir()
    with (shared / "data" / "tinystories" / "stories-1MiB.txt").open("rb") as stories:
        (texts / "stories.txt").write_bytes(stories.read(TEXT_BYTES))
    (texts / "blank.txt").write_text("\n \n" * 20_000)
    (texts / "empty.txt").touch()
    service = Up(folder / "home", ["--models", str(models), "--texts", str(texts)])
    service.start()
    yield service
    service.close()


def _write_models(models: Path, good: Path) -> None:
    shutil.copytree(good, models / "stories260K")
    for name in ("unknown-architecture", "pickled", "torn"):
        shutil.copytree(good, models / name)
    config = models / "unknown-architecture" / "config.json"
    values = json.loads(config.read_text()) | {"model_type": "mamba", "architectures": ["Mamba"]}
    config.write_text(json.dumps(values))
    (models / "pickled" / "model.safetensors").unlink()
    (models / "pickled" / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": [1.0]}))
    torn = models / "torn" / "model.safetensors"
    torn.write_bytes(torn.read_bytes()[:-1000])


@pytest.fixture(scope="module")
def job(up: Up) -> dict[str, Any]:
    """The job of this module, succeeded."""
    answer = up.post(SPEC)
    assert answer.status_code == 202, answer.text
    status = up.await_status(answer.json()["id"])
    assert status["status"] == "succeeded", status
    found: dict[str, Any] = up.get(answer.headers["Location"])
    return found


def test_the_job_tells_what_it_did(up: Up, job: dict[str, Any]) -> None:
    status = up.get(job["links"]["status"])
    assert (status["percent"], status["layers_done"], status["layers_total"]) == (100.0, 5, 5)
    layers = up.get(job["links"]["layers"])["items"]
    assert [layer["layer"] for layer in layers] == list(range(5))
    result = job["result"]
    removed = 1 - result["parameters_after"] / result["parameters_before"]
    assert removed == pytest.approx(0.25, abs=0.01)  # as near as 5 layers and whole heads allow
    kept = sum(layer["parameters_before"] - layer["parameters"] for layer in layers)
    assert result["parameters_before"] - result["parameters_after"] == kept
    assert job["metadata"] == SPEC["metadata"]
    (measured,) = result["perplexity"]
    assert 1 < measured["dense"] < measured["pruned"] < 100
    assert up.get(job["links"]["report"])


def test_it_has_one_duration_wherever_it_is_told(up: Up, job: dict[str, Any]) -> None:
    began, ended = (datetime.fromisoformat(job[at]) for at in ("started_at", "finished_at"))
    wall = (ended - began).total_seconds()
    (listed,) = [one for one in up.get("/jobs")["items"] if one["id"] == job["id"]]
    said = [
        job["seconds"],
        job["result"]["seconds"],
        listed["seconds"],
        sum(job["stages"].values()),
    ]
    assert said == pytest.approx([wall] * 4)
    assert f"took {wall:.1f} s (start " in up.run("watch", job["id"]).stdout
    in_words = f"{round(wall)} s" if wall < 60 else f"{int(wall / 60)} min {int(wall % 60)} s"
    with open_browser() as browser, closing(Visit(browser, up.url)) as visit:
        expect(visit.open(f"jobs/{job['id']}").get_by_text(in_words, exact=True)).to_have_count(2)
        expect(visit.open("").get_by_text(f"took {in_words}", exact=True).first).to_be_visible()

    report = up.get(job["links"]["report"])  # was written before it was verified and published
    assert set(report["seconds_unknown"]) == {"verify", "publish"}
    assert sum(report["seconds"].values()) < wall
    for stage in set(job["stages"]) - {"verify", "publish"}:
        assert report["seconds"][stage] == pytest.approx(job["stages"][stage], abs=0.1), stage


def test_its_checkpoint_loads_in_plain_transformers(
    up: Up, job: dict[str, Any], tmp_path: Path
) -> None:
    for item in up.get(job["links"]["artifacts"])["items"]:
        content = up.http.get(f"{job['links']['artifacts']}/{item['path']}").content
        assert (len(content), hashlib.sha256(content).hexdigest()) == (item["size"], item["sha256"])
        target = tmp_path / "checkpoint" / item["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    # ServerUnavailable from the project, so that only what was downloaded can be imported.
    loaded = subprocess.run(
        [sys.executable, "-I", "-c", LOAD, str(tmp_path / "checkpoint")],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert loaded.returncode == 0, loaded.stderr
    told = json.loads(loaded.stdout.splitlines()[-1])
    assert told["parameters"] == job["result"]["parameters_after"]
    assert told["finite"]
    assert "Once upon a time, there was" in told["text"]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"model": "local:none"}, "/model"),
        ({"model": "../stories260K"}, "/model"),
        ({"ratio": "a lot"}, "/ratio"),
        ({"ratio": 1.5}, "/ratio"),
        ({"calibration": {"source": "local:none.txt"}}, "/calibration/source"),
        ({"calibration": {"source": "local:empty.txt"}}, "/calibration/source"),
        ({"calibration": {"sequence_length": 513}}, "/calibration/sequence_length"),
        ({"rato": 0.1}, "/rato"),
    ],
)
def test_what_cannot_be_right_is_refused_at_once(
    up: Up, changes: dict[str, Any], pointer: str
) -> None:
    answer = up.post({**SPEC, **changes})
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ratio": 0.99}, "unreachable-target"),
        ({"model": "local:unknown-architecture"}, "unsupported-model"),
        ({"model": "local:pickled"}, "unsupported-model"),
        ({"model": "local:torn"}, "broken-checkpoint"),
    ],
)
def test_what_cannot_be_planned_is_refused_at_once(
    up: Up, changes: dict[str, Any], code: str
) -> None:
    answer = up.post({**SPEC, **changes})
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/plan-refused")
    assert answer.json()["code"] == code
    assert str(up.home.parent) not in answer.text


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        (
            {"calibration": {"source": "local:blank.txt", "sequence_length": 128}},
            "calibration-error",
        ),
        ({"model": "no-such-org/no-such-model"}, "hub-unreachable"),  # tests run offline
    ],
)
def test_what_only_the_engine_can_tell_fails_the_job_with_a_reason(
    up: Up, changes: dict[str, Any], code: str
) -> None:
    job_id = up.post({**SPEC, **changes}).json()["id"]
    status = up.await_status(job_id)
    assert status["status"] == "failed"
    assert status["error"]["code"] == code, status["error"]
    assert len(status["error"]["message"]) > 20
    said = json.dumps(status["error"])
    assert str(ROOT) not in said
    assert str(up.home.parent) not in said
    assert up.http.get(f"/jobs/{job_id}/artifacts").status_code == 409
    assert not list((up.home / "artifacts").glob(f"**/{job_id}*")), "nothing half-written"
    assert not list((up.home / "work").glob(f"{job_id}*"))
