"""Timing: that it is generation what is timed, and that the numbers are those of the rounds."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.output import whole_model
from slimgpt.errors import CalibrationError
from slimgpt.events import Latency, ModelName, Progress, Warned
from slimgpt.pipeline import run
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import InferenceSpec, PruneSpec
from slimgpt.verification import loaders
from slimgpt.verification import timing as inference
from slimgpt.verification.loaders import TRANSFORMERS, Model
from slimgpt.verification.processes.transformers_timing import GenerationRequest, GenerationTiming
from slimgpt.verification.timing import ModelProcess
from tests.slimgpt.tiny import Tiny

CPU = torch.device("cpu")
ONCE = InferenceSpec(batch_sizes=(1, 3), prompt_tokens=5, new_tokens=7, repeats=2, warmup=1)
SETTINGS = {
    "model": "local:model",
    "ratio": 0.3,
    "calibration": {"source": "local:text.txt", "samples": 4, "sequence_length": 32},
    "evaluation": {"texts": [], "inference": ONCE.model_dump()},
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    Tiny(tokenizer=True).save(tmp_path / "model")
    (tmp_path / "text.txt").write_text("All work and no play. " * 40)
    return tmp_path


@pytest.mark.usefixtures("cold_start")
def test_what_is_timed_is_greedy_generation(place: Path) -> None:
    """The ids are those of transformers' own `generate`."""
    checkpoint = Checkpoint.open(place / "model")
    folder = whole_model.mirror(checkpoint, place / "mirror")
    words = TRANSFORMERS.arguments(Model(folder, checkpoint.architecture), CPU, ONCE)
    with ModelProcess(words) as watch:
        request = GenerationRequest(batch=3, prompt_tokens=5, new_tokens=7)
        told = [watch.generate(request) for _ in range(2)]
    prompt = torch.randint(259, (3, 5), generator=torch.Generator().manual_seed(0))
    reference = AutoModelForCausalLM.from_pretrained(place / "model")
    reference.generation_config.eos_token_id = None
    expected = reference.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=7, do_sample=False
    )
    assert told[0].ids == told[1].ids == expected[:, 5:].tolist()
    assert told[0].peak_memory_bytes > 0


def test_medians_and_the_range_of_nine_in_ten(place: Path) -> None:
    checkpoint = Checkpoint.open(place / "model")
    model = Model(place / "model", checkpoint.architecture)
    seconds = [(0.010, 0.6), (0.020, 0.9), (0.030, 1.2), (0.500, 6.0), (0.040, 1.5)]
    told = [GenerationTiming(prefill=p, decode=d, peak_memory_bytes=9, ids=[]) for p, d in seconds]
    row = inference.summarise("pruned", model, ONCE, 3, told, "by hand")
    assert row.prefill_ms == pytest.approx(30.0)
    assert row.prefill_spread_ms == pytest.approx((40 + 0.8 * 460) - (10 + 0.2 * 10))
    assert row.decode_ms_per_token == pytest.approx(200.0)
    assert row.decode_spread_ms == pytest.approx(((1.5 + 0.8 * 4.5) - (0.6 + 0.2 * 0.3)) / 6 * 1e3)
    assert row.tokens_per_second == pytest.approx(3 * 7 / 1.23)
    assert row.weights_bytes == checkpoint.bytes + _headers(place / "model")


def _headers(folder: Path) -> int:
    """Bytes of the files that are no tensors."""
    total = 0
    for file in folder.glob("*.safetensors"):
        total += 8 + int.from_bytes(file.read_bytes()[:8], "little")
    return total


def test_a_job_times_dense_and_pruned_model(place: Path) -> None:
    work = place / "work"
    spec = PruneSpec.model_validate(SETTINGS)
    events = list(run(spec, work, Roots(models=place, texts=place), "cpu"))
    rows = [event for event in events if isinstance(event, Latency)]
    found = [(row.batch, row.model) for row in rows]
    assert found == [(1, "dense"), (1, "pruned"), (3, "dense"), (3, "pruned")]
    assert all(row.repeats == 2 and row.interleaved for row in rows)
    assert all(row.decode_ms_per_token > 0 and row.prefill_ms > 0 for row in rows)
    assert rows[1].weights_bytes < rows[0].weights_bytes
    report = json.loads((work / "checkpoint" / "report.json").read_bytes())
    assert report["inference"] == [row.model_dump(exclude={"type", "point"}) for row in rows]
    assert [entry.name for entry in work.iterdir()] == ["checkpoint"]


def test_a_model_that_cannot_be_timed_costs_a_warning(place: Path) -> None:
    checkpoint = Checkpoint.open(place / "model")
    good = whole_model.mirror(checkpoint, place / "good")
    torn = whole_model.mirror(checkpoint, place / "torn")
    (torn / "config.json").write_text("{")
    models: dict[ModelName, Model] = {
        "dense": Model(good, checkpoint.architecture),
        "pruned": Model(torn, checkpoint.architecture),
    }
    events = list(inference.measure(ONCE, models, CPU))
    (said,) = [event.message for event in events if isinstance(event, Warned)]
    name = f"timing by transformers {transformers.__version__}, batch 1, pruned"
    assert said.startswith(f"{name}: not measured, exit status 1: ")
    assert not [event for event in events if isinstance(event, Latency)]


def test_a_vllm_that_does_not_work_costs_a_warning(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is installed and cannot be imported, as where its libraries are another torch's."""
    package = place / "packages" / "vllm"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("print('hello')\nraise ImportError('no libcuda')\n")
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    checkpoint = Checkpoint.open(place / "model")
    mirror = whole_model.mirror(checkpoint, place / "mirror")
    models: dict[ModelName, Model] = {"dense": Model(mirror, checkpoint.architecture)}
    events = list(inference.measure(ONCE, models, CPU))
    rows = [event for event in events if isinstance(event, Latency)]
    assert [(row.batch, row.loader) for row in rows] == [
        (1, TRANSFORMERS.name),
        (3, TRANSFORMERS.name),
    ]
    (said,) = [event.message for event in events if isinstance(event, Warned)]
    assert said == (
        "timing by vllm, batch 1, dense: not measured, exit status 1: ImportError: no libcuda"
    )
    steps = [event for event in events if isinstance(event, Progress)]
    assert [event.done for event in steps] == sorted(event.done for event in steps)
    assert {event.total for event in steps} == {2 * 2 * 3}


def test_without_vllm_transformers_alone_is_timed() -> None:
    assert importlib.util.find_spec("vllm") is None
    assert loaders.installed() == [TRANSFORMERS]


def test_more_tokens_than_the_model_has_positions_are_refused_at_once(place: Path) -> None:
    timing = ONCE.model_dump() | {"new_tokens": 4000}
    spec = PruneSpec.model_validate(SETTINGS | {"evaluation": {"inference": timing}})
    with pytest.raises(CalibrationError, match="sequences of 4005 tokens are longer"):
        list(run(spec, place / "work", Roots(models=place, texts=place), "cpu"))
