"""The client commands against a real API: what they send, show, save, and how they fail."""

from __future__ import annotations

import hashlib
import io
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console
from sqlalchemy import update
from typer.testing import CliRunner
from typer.testing import Result as Outcome

from cli.client.jobs import show_jobs
from cli.client.outcome import show_outcome
from cli.main import app
from jobs.store.store import Store
from jobs.store.tables import JOBS
from slimgpt.client import Job, JobPage
from slimgpt.spec.prune import PruneSpec
from tests.api.conftest import BODY, api, base_url, finished, own_store, publish_job
from tests.api.routes.test_jobs import layer
from tests.proxy import Proxy
from tests.servers import free_port, wait_until

__all__ = ["api", "base_url", "finished", "own_store", "publish_job"]


@pytest.fixture
def client(base_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command as `slimgpt` in a pipe."""
    monkeypatch.setenv("SLIMGPT_URL", base_url)
    runner = CliRunner()

    def run(*arguments: str) -> Outcome:
        outcome = runner.invoke(app, list(arguments))
        assert outcome.exception is None or isinstance(outcome.exception, SystemExit)
        assert "\x1b" not in outcome.output  # no colours in a pipe
        return outcome

    return run


def asked(store: Store, job_id: str) -> PruneSpec:
    """What a job was posted with."""
    job = store.get(job_id)
    assert job is not None
    assert isinstance(job.spec, PruneSpec)
    return job.spec


def refused(outcome: Outcome) -> str:
    """The one line that a failed command writes, on stderr."""
    assert outcome.exit_code == 1
    assert outcome.stderr.startswith("error: ")
    assert outcome.stderr.count("\n") == 1
    return str(outcome.stderr)


def test_submit_prints_the_id_of_a_job_with_all_that_was_asked(
    client: Any, own_store: Store
) -> None:
    outcome = client(
        *("submit", "--model", "local:tiny", "--ratio", "0.25", "--method", "wanda-sp"),
        *("--schedule", "linear", "--first-ratio", "0.1", "--calibration", "local:notes.txt"),
        *("--samples", "8", "--seq-len", "64", "--seed", "7", "--eval-text", "local:notes.txt"),
        *("--eval-text", "held-out", "--eval-seq-len", "32", "--metadata", "team=a=b"),
    )
    assert outcome.exit_code == 0
    assert outcome.stderr == ""
    job = own_store.get(outcome.stdout.strip())
    assert job is not None
    assert job.spec == PruneSpec.model_validate(
        {
            "model": "local:tiny",
            "ratio": 0.25,
            "method": "wanda-sp",
            "schedule": {"shape": "linear", "first_ratio": 0.1},
            "calibration": {
                "source": "local:notes.txt",
                "samples": 8,
                "sequence_length": 64,
                "seed": 7,
            },
            "evaluation": {"texts": ["local:notes.txt", "held-out"], "sequence_lengths": [32]},
        }
    )
    assert job.metadata == {"team": "a=b"}


def test_submit_takes_what_prune_takes_of_calibration_and_scores(
    client: Any, own_store: Store
) -> None:
    outcome = client(
        *("submit", "--model", "local:tiny", "--ratio", "0.25", "--last-ratio", "0.4"),
        *("--head-score", "diagonal", "--damping", "0.05", "--calibration", "hf:org/set"),
        *("--calibration-config", "en", "--calibration-split", "test"),
    )
    assert outcome.exit_code == 0, outcome.stderr
    calibration = {"source": "hf:org/set", "config": "en", "split": "test"}
    assert asked(own_store, outcome.stdout.strip()) == PruneSpec.model_validate(
        {
            "model": "local:tiny",
            "ratio": 0.25,
            "schedule": {"shape": "log", "last_ratio": 0.4},
            "head_score": "diagonal",
            "damping": 0.05,
            "calibration": calibration,
        }
    )


def test_submit_takes_what_prune_takes_of_tasks_timing_and_recovery(
    client: Any, own_store: Store, tmp_path: Path
) -> None:
    questions = tmp_path / "piqa.jsonl"
    questions.write_text('{"goal": "Sweep", "sol1": "a broom", "sol2": "a spoon", "label": 0}\n')
    outcome = client(
        *("submit", "--model", "local:tiny", "--ratio", "0.25", "--task", "piqa", "--shots", "0"),
        *("--limit", "3", "--task-source", str(questions), "--timing", "--timing-batch", "4"),
        *("--recover", "local:notes.txt", "--recover-method", "distillation", "--epochs", "2"),
        *("--recover-samples", "9", "--recover-seq-len", "32", "--learning-rate", "0.01"),
        *("--batch-size", "4", "--lora-rank", "2", "--publish-recovered"),
        *("--head-score", "diagonal", "--group-size", "8", "--channel-multiple", "16"),
    )
    assert outcome.exit_code == 0, outcome.stderr
    made = asked(own_store, outcome.stdout.strip())
    uploaded = made.evaluation.tasks[0].source
    assert outcome.stderr == f"{questions} is uploaded as {uploaded}: 1 row\n"
    assert made == PruneSpec.model_validate(
        {
            "model": "local:tiny",
            "ratio": 0.25,
            "evaluation": {
                "tasks": [{"name": "piqa", "shots": 0, "limit": 3, "source": uploaded}],
                "inference": {"batch_sizes": [4]},
            },
            "recovery": {
                "source": "local:notes.txt",
                "method": "distillation",
                "epochs": 2,
                "samples": 9,
                "sequence_length": 32,
                "learning_rate": 0.01,
                "batch_size": 4,
                "rank": 2,
                "publish": "recovered",
            },
            "head_score": "diagonal",
            "group_size": 8,
            "channel_multiple": 16,
        }
    )


def test_tasks_and_times_of_options_stand_beside_what_the_file_says(
    client: Any, own_store: Store, tmp_path: Path
) -> None:
    spec = tmp_path / "job.json"
    evaluation = {"texts": [], "tasks": ["boolq"], "inference": {"repeats": 3}}
    learning = {"source": "local:notes.txt", "rank": 4}
    spec.write_text(json.dumps({**BODY, "evaluation": evaluation, "recovery": learning}))
    outcome = client("submit", "--spec", str(spec), "--task", "arc_easy", "--task", "piqa",
                     "--timing-batch", "2", "--epochs", "3")  # fmt: skip
    assert outcome.exit_code == 0, outcome.stderr
    made = asked(own_store, outcome.stdout.strip())
    assert made.evaluation.texts == ()
    assert [task.name for task in made.evaluation.tasks] == ["arc_easy", "piqa"]
    assert made.evaluation.inference is not None
    assert (made.evaluation.inference.repeats, made.evaluation.inference.batch_sizes) == (3, (2,))
    assert made.recovery is not None
    assert (made.recovery.rank, made.recovery.epochs) == (4, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--epochs", "2"], "--epochs apply to a recovery only: add --recover TEXT"),
        (["--timing-batch", "2"], "give --timing as well"),
        (["--limit", "2"], "name one with --task NAME"),
        (["--schedule", "nosuch"], "'nosuch' is none of log, linear"),
        (["--method", "luck"], "'luck' is not one of"),
        (["--task", "piqa", "--task-source", "."], "is a folder of this machine"),
        (["--task", "piqa", "--task-source", "local:none"], "there is no folder 'none'"),
        (["--task", "piqa", "--task-source", "local:none.jsonl"], "there is no text file"),
        (["--task", "no such", "--ratio", "0.3"], "String should match pattern"),
    ],
)
def test_submit_refuses_options_that_mean_nothing(
    client: Any, arguments: list[str], words: str
) -> None:
    outcome = client("submit", "--model", "local:tiny", "--ratio", "0.2", *arguments)
    assert outcome.exit_code in (1, 2)
    assert words in " ".join(outcome.stderr.replace("│", " ").split())
    assert outcome.stdout == ""


def test_submit_without_evaluation(client: Any, own_store: Store) -> None:
    outcome = client("submit", "--model", "local:tiny", "--ratio", "0.25", "--eval-text", "none")
    assert outcome.exit_code == 0
    assert asked(own_store, outcome.stdout.strip()).evaluation.texts == ()


def test_submit_takes_a_file_that_options_override(
    client: Any, own_store: Store, tmp_path: Path
) -> None:
    spec, ratios = tmp_path / "job.json", tmp_path / "ratios.json"
    body = json.dumps({**BODY, "metadata": {"a": "1"}, "damping": 0.05}, indent=1)
    spec.write_bytes(body.replace("\n", "\r\n").encode("utf-16"))  # as some editors save it
    ramp = [round(0.3 + layer / 200, 3) for layer in range(32)]
    ratios.write_text(json.dumps(ramp), encoding="utf-8-sig")
    arguments = ("--spec", str(spec), "--ratio", "0.4", "--metadata", "b=2", "--json")
    outcome = client("submit", *arguments, "--schedule", str(ratios))
    job = own_store.get(json.loads(outcome.stdout)["id"])
    assert job is not None
    made = asked(own_store, job.id)
    assert (made.ratio, made.damping) == (0.4, 0.05)
    assert made.schedule.ratios == tuple(ramp)
    assert job.metadata == {"a": "1", "b": "2"}


def test_an_option_leaves_the_rest_of_a_schedule_in_the_file(
    client: Any, own_store: Store, tmp_path: Path
) -> None:
    spec = tmp_path / "job.json"
    spec.write_text(json.dumps({**BODY, "schedule": {"shape": "linear", "last_ratio": 0.3}}))
    outcome = client("submit", "--spec", str(spec), "--first-ratio", "0.1", "--json")
    schedule = asked(own_store, json.loads(outcome.stdout)["id"]).schedule
    assert (schedule.shape, schedule.first_ratio, schedule.last_ratio) == ("linear", 0.1, None)


def test_what_a_file_says_wrongly_is_not_overridden_unsaid(client: Any, tmp_path: Path) -> None:
    spec = tmp_path / "job.json"
    spec.write_text(json.dumps({**BODY, "calibration": "local:notes.txt"}))
    words = refused(client("submit", "--spec", str(spec), "--samples", "8"))
    assert "'local:notes.txt' in the file of --spec is not a JSON object" in words


@pytest.mark.parametrize(
    ("option", "value", "field", "meant"),
    [
        ("--parameters", "5.4B", "parameters", 5_400_000_000),
        ("--memory", "10GiB", "memory", 10 * 2**30),
    ],
)
def test_submit_takes_targets_in_other_units_in_place_of_the_files(
    client: Any, own_store: Store, tmp_path: Path, option: str, value: str, field: str, meant: int
) -> None:
    spec = tmp_path / "job.json"
    spec.write_text(json.dumps(BODY))
    spec_made = asked(
        own_store, client("submit", "--spec", str(spec), option, value).stdout.strip()
    )
    assert (spec_made.ratio, getattr(spec_made, field)) == (None, meant)
    assert f" {value} " in client("jobs").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "local:none", "--ratio", "0.2"], "model: there is no model folder 'none'"),
        (["--model", "local:tiny", "--ratio", "1.5"], "ratio: Input should be less than 1"),
        (["--model", "local:tiny"], "give exactly one of `ratio`, `ratios`, `parameters` and"),
        (["--spec", "none.json"], "none.json cannot be read"),
        (
            ["--model", "local:tiny", "--ratio", "0.2", "--calibration", "upload:cal_nope"],
            "'upload:cal_nope' is not the id of an upload",
        ),
    ],
)
def test_submit_refused_is_one_line_and_no_id(
    client: Any, arguments: list[str], words: str
) -> None:
    outcome = client("submit", *arguments)
    assert words in refused(outcome)
    assert outcome.stdout == ""


def test_submit_without_a_model_names_the_option(client: Any) -> None:
    outcome = client("submit", "--ratio", "0.2")
    assert outcome.exit_code == 2
    assert outcome.stderr.startswith("error: no model is given: name it as MODEL")
    assert outcome.stdout == ""


def test_jobs_in_a_pipe_loses_no_column(client: Any, api: httpx.Client) -> None:
    long = {**BODY, "model": "organisation-with-a-long-name/" + "m" * 90}
    ids = [api.post("/jobs", json=body).json()["id"] for body in (BODY, BODY, long)]
    table = client("jobs").stdout
    assert all(job_id in table for job_id in ids)
    assert long["model"] in table
    page = json.loads(client("jobs", "--limit", "2", "--json").stdout)
    assert [job["id"] for job in page["items"]] == sorted(ids, reverse=True)[:2]
    rest = client("jobs", "--cursor", page["next_cursor"]).stdout
    assert [job_id in rest for job_id in sorted(ids)] == [True, False, False]


def test_jobs_are_filtered(client: Any, api: httpx.Client) -> None:
    ids = [
        api.post("/jobs", json={**BODY, "metadata": {"night": night}}).json()["id"]
        for night in ("1", "2")
    ]
    api.post(f"/jobs/{ids[0]}/cancel")

    def listed(*arguments: str) -> list[str]:
        page = json.loads(client("jobs", "--json", *arguments).stdout)
        return [job["id"] for job in page["items"]]

    assert listed("--metadata", "night=2", "--model", BODY["model"]) == [ids[1]]
    assert listed("--status", "cancelled", "--status", "failed") == [ids[0]]
    assert listed("--created-before", "2020-01-01T00:00:00Z") == []
    assert "created_after" in refused(client("jobs", "--created-after", "today"))


def test_jobs_of_another_version_are_listed(
    client: Any, api: httpx.Client, own_store: Store
) -> None:
    api.post("/jobs", json=BODY)
    job_id = api.post("/jobs", json=BODY).json()["id"]
    with own_store.engine.begin() as connection:
        foreign = update(JOBS).where(JOBS.c.id == job_id)
        connection.execute(foreign.values(spec={"quantise": 4}))
    lines = client("jobs").stdout.splitlines()
    assert [line.split()[-1] for line in lines[1:]] == ["?", BODY["model"]]
    assert "no jobs yet" not in client("jobs", "--model", "local:none").stdout


def test_an_outcome_tells_what_recovery_gave_back() -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    measured = {"text": "wikitext2", "sequence_length": 128, "dense": 5.0, "pruned": 9.0}
    sizes = {"parameters_before": 100, "parameters_after": 75, "ratio_achieved": 0.25}
    result = {**sizes, "seconds": 1.5, "perplexity": [{**measured, "recovered": 7.0}, measured]}
    fields: dict[str, Any] = {"id": "job_1", "status": "succeeded", "spec": {}, "warnings": []}
    job = Job.model_construct(**fields, result=result)
    show_outcome(console, job, [])
    said = [line for line in console.export_text().splitlines() if "perplexity" in line]
    assert [line.partition("dense ")[2] for line in said] == [
        "5.00, pruned 9.00, recovered 7.00",
        "5.00, pruned 9.00",
    ]


def shown(page: JobPage, width: int) -> str:
    """What `slimgpt jobs` prints in a terminal of that width."""
    console = Console(width=width, record=True, file=io.StringIO())
    show_jobs(console, page.rows())
    return console.export_text()


def test_a_narrow_terminal_cuts_nothing(api: httpx.Client) -> None:
    labels = {"team": "search", "night": "a label that is longer than the line " * 3}
    made = [api.post("/jobs", json={**BODY, "metadata": labels}).json() for _ in range(2)]
    text = shown(JobPage.model_validate({"items": made, "next_cursor": None}), 60)
    words = text.split()
    for job in made:
        assert job["id"] in words
    assert words.count(BODY["model"]) == 2
    assert " ".join(words).count(f"night={labels['night'].strip()}") == 2
    assert max(map(len, text.splitlines())) <= 60


def test_the_list_says_size_perplexity_labels_and_every_target(
    client: Any, finished: dict[str, Any], api: httpx.Client, own_store: Store
) -> None:
    measured = {"text": "held-out", "sequence_length": 128, "dense": 4.5625, "pruned": 8.25}
    result = {"parameters_before": 260_032, "parameters_after": 208_000, "ratio_achieved": 0.2}
    with own_store.engine.begin() as connection:
        row = update(JOBS).where(JOBS.c.id == finished["id"])
        connection.execute(row.values(result={**result, "perplexity": [measured]}))
    sweep = {"model": BODY["model"], "ratios": [0.2, 0.33, 0.5], "metadata": {"team": "search"}}
    sweep |= {"calibration": BODY["calibration"]}
    assert api.post("/jobs", json=sweep).status_code == 202
    header, posted, done = client("jobs").stdout.splitlines()
    assert "260K → 208K" in done
    assert "4.562 → 8.25" in done
    assert "0.2, 0.33, 0.5" in posted
    assert "team=search" in posted
    assert header.split() == [
        *("id", "status", "target", "parameters", "perplexity", "layers", "age", "labels", "model"),
    ]


def test_an_admin_reads_whose_jobs_they_are(api: httpx.Client) -> None:
    mine = api.post("/jobs", json=BODY).json()
    items = [mine, {**mine, "owner": "ada"}]
    lines = shown(JobPage.model_validate({"items": items, "next_cursor": None}), 160).splitlines()
    assert "owner" in lines[0]
    assert [line.split()[-2] for line in lines[1:]] == [mine["owner"], "ada"]


def test_watch_ends_well_only_with_a_job_that_did(
    client: Any, finished: dict[str, Any], api: httpx.Client, own_store: Store
) -> None:
    outcome = client("watch", finished["id"])
    assert outcome.exit_code == 0
    assert "100 → 75 (25.00% removed)" in outcome.stdout
    took = api.get(f"/jobs/{finished['id']}").json()["seconds"]
    assert f"took {took:.1f} s" in outcome.stdout  # not the engine's own 1.5
    failing = api.post("/jobs", json=BODY).json()["id"]
    claim = own_store.claim(failing, "tester")
    assert claim is not None
    own_store.layer_done(failing, claim.epoch, layer(0))
    error = {"code": "numerical-error", "message": "layer 1: not finite", "hint": "raise damping"}
    own_store.fail(failing, claim.epoch, error)
    outcome = client("watch", failing)
    assert refused(outcome) == "error: the job failed: layer 1: not finite; raise damping\n"
    assert "6/8" in outcome.stdout  # the layer that was done
    cancelled = api.post("/jobs", json=BODY).json()["id"]
    api.post(f"/jobs/{cancelled}/cancel")
    assert "the job was cancelled" in refused(client("watch", cancelled))


def test_watch_in_json_is_json_only_with_the_job_last(
    client: Any, finished: dict[str, Any]
) -> None:
    written = client("watch", finished["id"], "--json").stdout
    lines = [json.loads(line) for line in written.splitlines()]
    assert lines[0]["percent"] == 100.0
    assert lines[-1]["result"]["parameters_after"] == 75


def test_watch_says_on_stderr_that_the_service_is_away_and_back(
    client: Any, api: httpx.Client, base_url: str
) -> None:
    job_id = api.post("/jobs", json=BODY).json()["id"]
    with Proxy(httpx.URL(base_url).port or 0) as proxy, ThreadPoolExecutor() as pool:

        def restart() -> None:
            wait_until(proxy.answered.is_set, "watch is answered")
            proxy.refuse()
            proxy.answered.clear()
            wait_until(lambda: proxy.refused > 2, "watch has asked again")
            proxy.refusing = False
            wait_until(proxy.answered.is_set, "watch is answered again")
            api.post(f"/jobs/{job_id}/cancel")

        done = pool.submit(restart)
        outcome = client("watch", job_id, "--json", "--url", f"http://127.0.0.1:{proxy.port}")
        done.result()
    assert outcome.exit_code == 1
    away, back, failed = outcome.stderr.splitlines()
    assert re.match(r"warning: the service cannot be reached since \d\d:\d\d:\d\d; asking", away)
    assert (back, failed) == ("the service answers again", "error: the job was cancelled")
    assert all(json.loads(line) for line in outcome.stdout.splitlines())


def test_a_job_is_cancelled_retried_and_deleted(
    client: Any, api: httpx.Client, finished: dict[str, Any]
) -> None:
    job_id = api.post("/jobs", json=BODY).json()["id"]
    assert client("cancel", job_id).stdout == f"{job_id} cancelled\n"
    assert json.loads(client("retry", job_id, "--json").stdout)["status"] == "queued"
    assert "cancel it first" in refused(client("delete", job_id))
    client("cancel", job_id)
    assert client("retry", job_id, "--anew").stdout == f"{job_id} queued\n"
    client("cancel", job_id)
    assert client("delete", job_id, finished["id"]).stdout.count(" deleted\n") == 2
    assert api.get("/jobs").json()["items"] == []
    assert "there is no job" in refused(client("delete", job_id))


def test_download_brings_every_file_and_leaves_nothing_else(
    client: Any, finished: dict[str, Any], tmp_path: Path
) -> None:
    target = tmp_path / "new" / "folder"
    outcome = client("download", finished["id"], str(target), "--json")
    assert outcome.exit_code == 0
    assert json.loads(outcome.stdout)["size"] == sum(map(len, finished["files"].values()))
    for path, content in finished["files"].items():
        assert (target / path).read_bytes() == content
    assert [entry.name for entry in target.parent.iterdir()] == ["folder"]


def test_download_into_the_folder_where_one_stands(
    client: Any, finished: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "here"
    target.mkdir()
    monkeypatch.chdir(target)
    assert client("download", finished["id"], ".").exit_code == 0
    assert (target / "config.json").read_bytes() == finished["files"]["config.json"]


def test_download_goes_on_where_it_was_interrupted(
    client: Any, finished: dict[str, Any], tmp_path: Path
) -> None:
    partial = tmp_path / f"out.{finished['id']}.partial"
    partial.mkdir()
    content = finished["files"]["model.safetensors"]
    (partial / "model.safetensors").write_bytes(content[:1_000_003])
    (partial / "config.json").write_bytes(finished["files"]["config.json"])
    assert client("download", finished["id"], str(tmp_path / "out")).exit_code == 0
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == content


def test_download_says_that_files_have_expired(
    client: Any, finished: dict[str, Any], own_store: Store, tmp_path: Path
) -> None:
    assert own_store.expire_older(1e-9) == [finished["id"]]
    words = refused(client("download", finished["id"], str(tmp_path / "out")))
    assert "were removed on" in words
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("where", ["here", "there"])
def test_download_refuses_wrong_bytes(
    client: Any, finished: dict[str, Any], tmp_path: Path, where: str
) -> None:
    """Damage of an earlier part here is repaired by trying again, damage there is not hidden."""
    content = finished["files"]["model.safetensors"]
    if where == "here":
        partial = tmp_path / f"out.{finished['id']}.partial"
        partial.mkdir()
        (partial / "model.safetensors").write_bytes(b"x" * 1000)
    else:
        (finished["folder"] / "model.safetensors").write_bytes(content[:-1] + b"\0")
    words = refused(client("download", finished["id"], str(tmp_path / "out")))
    assert "model.safetensors does not have the sha256" in words
    assert not (tmp_path / "out").exists()
    again = client("download", finished["id"], str(tmp_path / "out"))
    assert again.exit_code == (0 if where == "here" else 1)
    if where == "here":
        found = (tmp_path / "out" / "model.safetensors").read_bytes()
        assert hashlib.sha256(found).digest() == hashlib.sha256(content).digest()


def test_download_does_not_touch_a_folder_that_holds_something(
    client: Any, finished: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert "not an empty folder" in refused(client("download", finished["id"], str(tmp_path)))
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("command", [["jobs"], ["watch", "job_x"], ["download", "job_x", "out"]])
def test_where_no_service_is_the_line_says_how_to_start_one(command: list[str]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    outcome = CliRunner().invoke(app, [*command, "--url", url])
    words = refused(outcome)
    assert url in words
    assert "slimgpt up" in words


@pytest.mark.parametrize("url", ["nonsense", "ftp://host", "http://"])
def test_what_is_no_address_is_said(url: str) -> None:
    refused(CliRunner().invoke(app, ["jobs", "--url", url]))


def test_an_unknown_job_is_said(client: Any) -> None:
    assert refused(client("watch", "job_x")) == "error: there is no job 'job_x'\n"
