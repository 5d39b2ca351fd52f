"""Runs in a real MLflow, read through its REST API and compared with the report."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from jobs.files.artifacts import Artifacts
from jobs.settings import Settings
from slimgpt.report import folder as pages
from tests.api.conftest import PublishJob, api, base_url, own_store, publish_job
from tests.cli.conftest import command
from tests.servers import free_port, wait_until
from tests.slimgpt.report import sample
from tests.slimgpt.report.tracking.conftest import MlflowServer

__all__ = ["api", "base_url", "own_store", "publish_job"]

pytestmark = pytest.mark.timeout(480)  # the first waits for the server
LAYERS = 40  # more numbers than go into one request


def track(place: Path | str, uri: str, *more: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["track", str(place), "--to", uri, "--json", *more])
    assert done.exit_code == 0, done.output
    (one,) = json.loads(done.stdout)["items"]
    answer: dict[str, Any] = one
    return answer


def checkpoint(folder: Path, **changes: Any) -> Path:
    """A folder with a report and its pages, and what looks like weights."""
    sample.write(folder, sample.report(LAYERS, name=sample.HOSTILE) | changes)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    pages.write(folder)
    return folder


def history(server: MlflowServer, run: str, name: str) -> dict[int, float]:
    """A metric's values by step; each is there once."""
    found = server.ask("metrics/get-history", run_id=run, metric_key=name)["metrics"]
    values = {int(one.get("step", 0)): float(one["value"]) for one in found}
    assert len(values) == len(found)
    return values


def test_a_run_says_what_the_report_says(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    place = checkpoint(tmp_path / "small")
    report = json.loads((place / "report.json").read_text())
    run_id = track(place, mlflow_server.url, "--experiment", "numbers")["run_id"]
    run = mlflow_server.ask("runs/get", run_id=run_id)["run"]
    assert run["info"]["status"] == "FINISHED"
    metrics = {one["key"]: one["value"] for one in run["data"]["metrics"]}
    assert metrics["parameters/after"] == report["model"]["parameters_after"]
    assert metrics["ratio_achieved"] == report["model"]["ratio_achieved"]
    values = set(metrics.values())
    for row in report["perplexity"] + report["tasks"]:
        kinds = ("dense", "pruned", "recovered", "dense_error", "pruned_error", "recovered_error")
        assert {row[kind] for kind in kinds if kind in row} <= values
    for speed in report["inference"]:
        assert {speed["prefill_ms"], speed["decode_ms_per_token"]} <= values
    assert set(report["seconds"].values()) <= values
    assert history(mlflow_server, run_id, "layers/ffn_error") == {
        layer["layer"]: layer["ffn_error"] for layer in report["layers"]
    }
    assert history(mlflow_server, run_id, "drift/recovered/stream") == {
        one["layer"]: one["stream"] for one in report["drift"] if one["model"] == "recovered"
    }
    curves = report["recovery"]["curves"]
    assert history(mlflow_server, run_id, "loss/text") == {
        one["step"]: one["text"] for one in curves if one["text"] is not None
    }
    tags = {one["key"]: one["value"] for one in run["data"]["tags"]}
    assert tags["slimgpt.published"] == "recovered"
    assert tags["slimgpt.revision"] == report["model"]["revision"]
    parameters = {one["key"]: one["value"] for one in run["data"]["params"]}
    assert parameters["schedule.shape"] == report["spec"]["schedule"]["shape"]
    files = mlflow_server.ask("artifacts/list", run_id=run_id)["files"]
    assert {file["path"] for file in files} == {"report.json", "report.html", "README.md"}


def test_a_repetition_adds_nothing_and_a_torn_run_is_made_whole(
    mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    place = checkpoint(tmp_path / "torn", warnings=["another"])
    first = track(place, mlflow_server.url, "--experiment", "torn")
    run_id = first["run_id"]
    before = history(mlflow_server, run_id, "layers/ratio")
    # As a process leaves it that was killed before the end: everything may be there but the mark.
    mlflow_server.ask("runs/update", {"run_id": run_id, "status": "RUNNING"})
    again = [track(place, mlflow_server.url, "--experiment", "torn") for _ in range(2)]
    assert first["new"]
    assert [(one["run_id"], one["new"]) for one in again] == [(run_id, False)] * 2
    assert history(mlflow_server, run_id, "layers/ratio") == before
    assert mlflow_server.ask("runs/get", run_id=run_id)["run"]["info"]["status"] == "FINISHED"
    experiment = {"experiment_ids": [first["experiment_id"]]}
    assert len(mlflow_server.ask("runs/search", experiment)["runs"]) == 1


def test_a_registered_version_leads_to_the_files(
    mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    place = checkpoint(tmp_path / "kept", warnings=["a third"])
    (place / "gguf").mkdir()
    (place / "gguf/model-f16.gguf").write_bytes(b"GGUF")
    logged = [track(place, mlflow_server.url, "--register", "small") for _ in range(2)]
    assert [one["version"] for one in logged] == ["1", "1"]
    version = mlflow_server.ask("model-versions/get", name="small", version="1")["model_version"]
    assert version["run_id"] == logged[0]["run_id"]
    assert version["source"].endswith("/checkpoint")
    files = mlflow_server.ask("artifacts/list", run_id=version["run_id"], path="checkpoint")
    assert "checkpoint/model.safetensors" in {file["path"] for file in files["files"]}
    further = mlflow_server.ask("artifacts/list", run_id=version["run_id"], path="checkpoint/gguf")
    assert [file["path"] for file in further["files"]] == ["checkpoint/gguf/model-f16.gguf"]
    elsewhere = checkpoint(tmp_path / "elsewhere", warnings=["a fourth"])
    there = "s3://bucket/jobs/7"
    made = track(elsewhere, mlflow_server.url, "--register", "small", "--source", there)
    version = mlflow_server.ask("model-versions/get", name="small", version=made["version"])
    assert version["model_version"]["source"] == there


def test_every_model_of_a_sweep_is_a_run(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    ratios = {"20": 0.2, "50": 0.5}
    reports = {name: sample.report(2, ratio=ratio) for name, ratio in ratios.items()}
    points = [
        {"ratio": ratios[name], "folder": name, "report": one} for name, one in reports.items()
    ]
    place = sample.write(tmp_path / "sweep", {"kind": "sweep", "verdict": "", "points": points})
    asked = ["track", str(place), "--to", mlflow_server.url, "--json"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    for logged, report in zip(json.loads(done.stdout)["items"], reports.values(), strict=True):
        run = mlflow_server.ask("runs/get", run_id=logged["run_id"])["run"]["data"]
        metrics = {one["key"]: one["value"] for one in run["metrics"]}
        assert metrics["parameters/after"] == report["model"]["parameters_after"]


def test_a_server_that_is_away_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    place, away = checkpoint(tmp_path / "away"), f"http://127.0.0.1:{free_port()}"
    done = CliRunner().invoke(app, ["track", str(place), "--to", away])
    assert done.exit_code == 1
    assert away in done.output
    assert "nothing is logged twice" in done.output
    assert "Traceback" not in done.output


def test_a_checkpoint_that_is_not_there_cannot_be_sent(tmp_path: Path) -> None:
    place = sample.write(tmp_path / "bare", sample.report(2))
    done = CliRunner().invoke(
        app, ["track", str(place), "--to", "http://127.0.0.1:1", "--checkpoint"]
    )
    assert done.exit_code == 1
    assert "has no checkpoint" in done.output


@pytest.fixture
def publish(publish_job: PublishJob) -> Callable[[Path], str]:
    """Makes a job of the service that succeeded with a folder as its files; its id."""
    return lambda folder: publish_job(folder, json.loads((folder / "report.json").read_text()))


def jobs_of(server: MlflowServer, experiment: str) -> dict[str, str]:
    """The status of every run of an experiment by its job; there is one run a job."""
    known = server.ask("experiments/search", {"max_results": 100})["experiments"]
    ids = [one["experiment_id"] for one in known if one["name"] == experiment]
    runs = server.ask("runs/search", {"experiment_ids": ids}).get("runs", []) if ids else []
    tags = [{tag["key"]: tag["value"] for tag in run["data"]["tags"]} for run in runs]
    status = {
        tag["slimgpt.job"]: run["info"]["status"] for tag, run in zip(tags, runs, strict=True)
    }
    assert len(status) == len(runs)
    return status


def test_a_job_is_logged_with_its_page_and_card(
    mlflow_server: MlflowServer, base_url: str, publish: Callable[[Path], str], tmp_path: Path
) -> None:
    job = publish(checkpoint(tmp_path / "done"))
    run_id = track(job, mlflow_server.url, "--url", base_url, "--register", "of-a-job")["run_id"]
    files = mlflow_server.ask("artifacts/list", run_id=run_id)["files"]
    assert {file["path"] for file in files} == {
        *("report.json", "report.html", "README.md", "checkpoint")
    }
    whole = mlflow_server.ask("artifacts/list", run_id=run_id, path="checkpoint")["files"]
    assert {file["path"] for file in whole} >= {"checkpoint/model.safetensors"}


def test_every_job_is_logged_once_also_while_the_server_was_away(
    mlflow_server: MlflowServer,
    base_url: str,
    publish: Callable[[Path], str],
    settings: Settings,
    tmp_path: Path,
) -> None:
    """Followed by a process of its own: one job before, one after; one whose files are gone."""
    folder = checkpoint(tmp_path / "done")
    lost, first = (publish(folder) for _ in range(2))
    Artifacts(settings.artifacts_url).delete(f"jobs/{lost}")
    words = ["track", "--jobs", "--to", mlflow_server.url, "--experiment", "all", "--url", base_url]
    mlflow_server.kill()
    try:
        told = tmp_path / "warnings"
        with told.open("wb") as stderr:
            following = subprocess.Popen(
                command(*words, "--every", "1"),
                env=os.environ | {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"},
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        wait_until(lambda: "next try in 1 s" in told.read_text(), "it was tried", 120)
    finally:
        mlflow_server.start()
    try:
        wait_until(lambda: jobs_of(mlflow_server, "all") == {first: "FINISHED"}, "one run", 120)
        second = publish(folder)
        both = {first: "FINISHED", second: "FINISHED"}
        wait_until(lambda: jobs_of(mlflow_server, "all") == both, "two runs", 60)
    finally:
        following.kill()
        following.wait()
    assert f"{lost} is not logged" in told.read_text()
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 1  # of the one that is lost
    assert not [line for line in done.stdout.splitlines() if line[0] == "{"]  # nothing is new
    assert jobs_of(mlflow_server, "all") == both

    # What they are asked for beyond that is added to the runs that are there, once.
    registering = [*words, "--json", "--register", "all-of-them"]
    added = CliRunner().invoke(app, registering).stdout.splitlines()
    found = [json.loads(line) for line in added if line[0] == "{"]
    assert {(one["new"], one["version"]) for one in found} == {(False, "1"), (False, "2")}
    again = CliRunner().invoke(app, registering).stdout.splitlines()
    assert not [line for line in again if line[0] == "{"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give PLACE, or --jobs"),
        (["here", "--jobs"], "give PLACE, or --jobs"),
        (["here", "--every", "5"], "--every needs --jobs"),
        (["--jobs", "--source", "s3://b/c"], "cannot be used with --jobs"),
    ],
)
def test_what_does_not_go_together_is_said(words: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["track", *words, "--to", "http://127.0.0.1:1"])
    assert done.exit_code == 2
    assert said in done.output
