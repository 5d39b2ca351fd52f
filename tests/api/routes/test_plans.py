"""`POST /plans` with the real engine process on a real checkpoint."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.checks import plan_check
from api.http.problems import Problem
from jobs.settings import Settings
from slimgpt.events import Failed
from slimgpt.spec.prune import PruneSpec
from tests import sparse_model
from tests.api.conftest import CONFIG

ROOT = Path(__file__).resolve().parents[3]
MODEL = ROOT / "examples" / "model"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine takes longer for a plan than a client would wait for its job."""
    monkeypatch.setattr(plan_check, "NEW_JOB_SECONDS", 100.0)
    monkeypatch.setattr(plan_check, "PLAN_SECONDS", 100.0)


@pytest.fixture
def model(settings: Settings) -> str:
    """The shipped model below the root of models."""
    shutil.copytree(MODEL, settings.models_root / "shipped")
    (settings.models_root / "odd").mkdir()
    (settings.models_root / "odd" / "config.json").write_text("{}")
    return "local:shipped"


def ask(api: httpx.Client, **body: Any) -> httpx.Response:
    return api.post("/plans", json=body, timeout=120)


def post(api: httpx.Client, body: dict[str, Any], **options: Any) -> httpx.Response:
    return api.post("/jobs", json=body, timeout=120, **options)


def test_a_plan_adds_up_and_queues_nothing(api: httpx.Client, model: str) -> None:
    answer = ask(api, model=model, ratio=0.3)
    assert answer.status_code == 200, answer.text
    plan = answer.json()
    layers = plan["layers"]
    removed = sum(layer["parameters_before"] - layer["parameters"] for layer in layers)
    assert removed == plan["parameters_before"] - plan["parameters_after"]
    assert abs(plan["parameters_after"] / plan["parameters_before"] - 0.7) < 0.002
    config = json.loads((MODEL / "config.json").read_text())
    assert len(layers) == config["num_hidden_layers"]
    assert {layer["heads_before"] for layer in layers} == {config["num_attention_heads"]}
    assert api.get("/jobs").json()["items"] == []
    (warning,) = plan["warnings"]  # it would fail as a job: the default is longer than the model
    assert warning.startswith("calibration.sequence_length: 2,048 tokens")
    assert "512 positions" in warning


def test_a_config_alone_is_planned_and_no_job(
    api: httpx.Client, model: str, settings: Settings
) -> None:
    shutil.copytree(settings.models_root / "shipped", settings.models_root / "bare")
    plan = ask(api, model=model, ratio=0.3).json()
    for file in (settings.models_root / "bare").glob("*.safetensors"):
        file.unlink()
    again = ask(api, model="local:bare", ratio=0.3).json()
    assert again["layers"] == plan["layers"]
    assert "planned from its config.json alone" in again["warnings"][0]
    calibration = {"source": "c4", "samples": 8, "sequence_length": 128}
    recovery = {"source": "alpaca", "method": "distillation", "teacher": "local:bare"}
    body: dict[str, Any] = {"model": model, "ratio": 0.3, "calibration": calibration}
    faulty: dict[str, dict[str, Any]] = {
        "/model": {"model": "local:bare"},
        "/recovery/teacher": {"recovery": recovery},
    }
    for place, more in faulty.items():
        refused = post(api, body | more)
        assert refused.status_code == 422
        [fault] = refused.json()["errors"]
        assert fault["pointer"] == place
        assert fault["message"].startswith("'local:bare' has no weights: put its safetensors")
    assert post(api, body).status_code == 202


@pytest.mark.parametrize("target", [{"parameters": "2M"}, {"memory": "4MB"}])
def test_a_target_in_other_units_is_met(
    api: httpx.Client, model: str, target: dict[str, str]
) -> None:
    plan = ask(api, model=model, **target).json()
    if "memory" in target:
        assert abs(plan["bytes_after"] - 4e6) <= 0.002 * 4e6
    else:
        assert abs(plan["parameters_after"] - 2e6) <= 0.002 * 2e6


@pytest.mark.parametrize(
    ("body", "problem", "words"),
    [
        ({"model": "local:shipped", "parameters": "5B"}, "plan-refused", "the model has only"),
        ({"model": "local:shipped", "memory": "5 parsecs"}, "invalid-request", "memory: "),
        ({"model": "local:shipped"}, "invalid-request", "exactly one of"),
        ({"model": "local:shipped", "ratio": 0.99}, "plan-refused", "cannot be met"),
        ({"model": "local:none", "ratio": 0.2}, "invalid-request", "no model folder 'none'"),
        ({"model": "local:odd", "ratio": 0.2}, "plan-refused", "model_type None"),
        ({"model": "org/name", "ratio": 0.2}, "model-not-cached", "org/name"),
        ({"model": "local:shipped", "ratio": "a lot"}, "invalid-request", "ratio"),
    ],
)
def test_what_cannot_be_planned_is_said(
    api: httpx.Client, model: str, body: dict[str, Any], problem: str, words: str
) -> None:
    answer = ask(api, **body)
    assert (answer.status_code, answer.json()["type"]) == (422, f"/problems/{problem}")
    assert words in answer.json()["detail"]
    assert str(ROOT) not in answer.text


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"model": "local:shipped", "parameters": "5B"}, "the model has only"),
        ({"model": "local:shipped", "ratio": 0.99}, "cannot be met"),
        ({"model": "local:shipped", "ratios": [0.2, 0.99]}, "cannot be met"),
        ({"model": "local:odd", "ratio": 0.2}, "model_type None"),
    ],
)
def test_what_cannot_be_planned_is_not_queued(
    api: httpx.Client, model: str, body: dict[str, Any], words: str
) -> None:
    body |= {"calibration": {"source": "c4", "samples": 8, "sequence_length": 128}}
    for _ in range(2):  # the second verdict is remembered
        planned, posted = ask(api, **body), post(api, body)
        assert (posted.status_code, posted.json()["type"]) == (422, "/problems/plan-refused")
        assert words in posted.json()["detail"]
        assert planned.json()["detail"] == posted.json()["detail"]
    assert api.get("/jobs").json()["items"] == []


@pytest.mark.parametrize("first", ["with recovery", "without"])
def test_a_verdict_is_of_the_job_with_or_without_recovery(
    api: httpx.Client, settings: Settings, first: str
) -> None:
    """Whoever follows the hint is not refused again; and what cannot be is not let through."""
    experts = {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}
    sparse_model.write(settings.models_root / "mixture", {**CONFIG, **experts})
    calibration = {"source": "c4", "samples": 8, "sequence_length": 128}
    body = {"model": "local:mixture", "ratio": 0.2, "calibration": calibration}
    for recovers in (True, False) if first == "with recovery" else (False, True):
        answer = post(api, {**body, "recovery": {"source": "alpaca"}} if recovers else body)
        assert answer.status_code == (422 if recovers else 202), answer.text
        if recovers:
            assert "leave recovery out" in answer.json()["detail"]


def test_a_teacher_of_another_vocabulary_is_refused_before_the_queue(
    api: httpx.Client, model: str, settings: Settings
) -> None:
    config = json.loads((MODEL / "config.json").read_text())
    calibration = {"source": "c4", "samples": 8, "sequence_length": 128}
    teaching = {"source": "alpaca", "method": "distillation", "teacher": "local:teacher"}
    body = {"model": model, "ratio": 0.2, "calibration": calibration, "recovery": teaching}
    for more, status in ((1, 422), (0, 202), (2, 422)):
        asked = config | {"vocab_size": config["vocab_size"] + more}
        sparse_model.write(settings.models_root / "teacher", asked)
        planned, posted = ask(api, **body), post(api, body)
        assert (planned.status_code == 422, posted.status_code) == (status == 422, status)
        if more:
            assert "local:teacher has a vocabulary of" in posted.json()["detail"]


def test_a_format_that_cannot_hold_the_model_is_refused_at_its_place(
    api: httpx.Client, settings: Settings
) -> None:
    config = json.loads((MODEL / "config.json").read_text()) | {"hidden_act": "gelu"}
    sparse_model.write(settings.models_root / "gelu", config)
    calibration = {"source": "c4", "samples": 8, "sequence_length": 128}
    body = {"model": "local:gelu", "ratio": 0.2, "calibration": calibration}
    answer = post(api, {**body, "formats": ["padded", "gguf"]})
    assert answer.status_code == 422, answer.text
    (fault,) = answer.json()["errors"]
    assert fault["pointer"] == "/formats/1"
    assert "`gguf` cannot hold this model: its activation is gelu" in fault["message"]
    assert post(api, {**body, "formats": ["padded"]}).status_code == 202


def test_a_text_that_is_surely_too_short_is_refused_at_its_place(
    api: httpx.Client, model: str, settings: Settings
) -> None:
    (settings.texts_root / "short.txt").write_text("Once upon a time. " * 20)
    made = api.post(
        "/calibration-sets", content=b"Once upon a time.", headers={"Content-Type": "text/plain"}
    ).json()
    for source in ("local:short.txt", made["source"]):
        calibration = {"source": source, "samples": 16, "sequence_length": 128}
        answer = post(api, {"model": model, "ratio": 0.2, "calibration": calibration})
        assert answer.status_code == 422, answer.text
        (fault,) = answer.json()["errors"]
        assert fault["pointer"] == "/calibration/source"
        assert "16 sequences of 128 tokens need 2,048" in fault["message"]
        calibration |= {"samples": 1, "sequence_length": 16}
        wanted = {"model": model, "ratio": 0.2, "calibration": calibration}
        assert post(api, wanted).status_code == 202


def test_a_job_posted_again_is_returned_though_it_could_not_be_planned_now(
    api: httpx.Client, model: str, settings: Settings
) -> None:
    calibration = {"source": "c4", "samples": 8, "sequence_length": 128}
    body = {"model": model, "ratio": 0.2, "calibration": calibration}
    key = {"Idempotency-Key": "once"}
    first = post(api, body, headers=key)
    (settings.models_root / "shipped" / "config.json").write_text("{}")
    assert post(api, body, headers=key).json()["id"] == first.json()["id"]
    assert post(api, body).status_code == 422


def engine(settings: Settings, script: str) -> Settings:
    """Settings whose engine is a line of Python."""
    return settings.model_copy(update={"engine_command": (sys.executable, "-c", script)})


SPEC = PruneSpec(model="local:shipped", ratio=0.2)


def test_an_engine_that_does_not_end_is_stopped(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(plan_check, "PLAN_SECONDS", 1.0)
    script = f"import time; time.sleep(20); open({str(tmp_path / 'alive')!r}, 'w')"
    with pytest.raises(Problem, match="took more than 1 seconds"):
        plan_check.ask_engine(SPEC, engine(settings, script))
    assert not (tmp_path / "alive").exists()


@pytest.mark.parametrize(
    "script",
    [
        "print(bytearray(3 << 28))",
        "import json; print(json.dumps({'type': 'failed', 'code': 'internal-error', "
        "'message': 'MemoryError: '}))",
        "import os; os.abort()",
        "while True: pass",
    ],
    ids=["allocates", "says so", "aborts", "spins"],
)
def test_an_engine_that_wants_too_much_is_stopped(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr(plan_check, "PLAN_BYTES", 1 << 28)
    monkeypatch.setattr(plan_check, "PROCESSOR_SECONDS", 1)
    with pytest.raises(Problem, match="takes more than") as refused:
        plan_check.ask_engine(SPEC, engine(settings, script))
    assert (refused.value.kind, refused.value.status_code) == ("plan-refused", 422)


def test_the_engine_sees_no_secret_and_no_hub(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLIMGPT_DATABASE_URL", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    script = "import json, os; m = json.dumps(dict(os.environ)); print(json.dumps({'type': 'failed', 'code': 'x', 'message': m}))"  # noqa: E501
    said = plan_check.ask_engine(SPEC, engine(settings, script))
    assert isinstance(said, Failed)
    seen = json.loads(said.message)
    assert "secret" not in seen.values()
    assert seen["HF_HUB_OFFLINE"] == "1"


def test_an_engine_that_crashes_is_a_fault_of_the_service(settings: Settings) -> None:
    with pytest.raises(RuntimeError, match="ended with 3"):
        plan_check.ask_engine(SPEC, engine(settings, "raise SystemExit(3)"))


def test_no_more_than_so_many_at_once(api: httpx.Client, model: str) -> None:
    with ExitStack() as held:
        for n in range(plan_check.AT_ONCE):
            held.enter_context(plan_check.limit.held(f"owner-{n}", alone=False))
        answer = ask(api, model=model, ratio=0.2)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert ask(api, model=model, ratio=0.2).status_code == 200


def test_a_job_whose_plan_takes_too_long_is_left_to_the_worker(
    api: httpx.Client, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_check, "NEW_JOB_SECONDS", 0.01)
    monkeypatch.setattr(plan_check, "PATIENCE_SECONDS", 0.0)
    few = {"source": "c4", "samples": 3, "sequence_length": 64}
    assert post(api, {"model": model, "ratio": 0.99, "calibration": few}).status_code == 202
