"""Whole jobs on tiny models: what comes out, what an interruption changes, what is refused."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from safetensors.torch import load_file

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.errors import (
    BrokenCheckpointError,
    CalibrationError,
    ModelNotFoundError,
    NumericalError,
    ResumeError,
    SlimGPTError,
    SpecError,
    UnreachableTargetError,
    UnsupportedModelError,
)
from slimgpt.events import Event, Failed, LayerFinished, Perplexity, Result, Verified, Warned, parse
from slimgpt.pipeline import run
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import PruneSpec
from slimgpt.stages.resolve import build_evaluation_sets, draw_calibration, overlaps
from slimgpt.texts.tokenization.tokenizer import Tokenizer
from tests.fork_server import ForkServer
from tests.slimgpt.tiny import Tiny

T = TypeVar("T")
TEXT = "\n\n".join(
    f"{n} bottles of beer on the wall, {n} bottles of beer. Take one down and pass it around, "
    f"{n - 1} bottles of beer on the wall."
    for n in range(400, 0, -1)
)
SETTINGS: dict[str, Any] = {
    "model": "local:model",
    "ratio": 0.25,
    "calibration": {"source": "local:text.txt", "samples": 16, "sequence_length": 64},
    "evaluation": {"texts": ["held-out"], "sequence_lengths": [32], "max_tokens": 512},
}


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    (tmp_path / "text.txt").write_text(TEXT)
    return Roots(models=tmp_path, texts=tmp_path)


def spec(**changes: Any) -> PruneSpec:
    return PruneSpec.model_validate(SETTINGS | changes)


def finish(job: PruneSpec, workdir: Path, roots: Roots, **options: Any) -> list[Event]:
    return list(run(job, workdir, roots, "cpu", **options))


def of_type(events: Sequence[Event], kind: type[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def weights(checkpoint: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in checkpoint.glob("*.safetensors")}


@pytest.mark.parametrize("family", ["llama", "olmo2", "gpt2", "falcon"])
def test_a_job_gives_a_smaller_model_that_loads_and_computes_the_same(
    family: str, roots: Roots, tmp_path: Path
) -> None:
    Tiny(family, tokenizer=True, kv_heads=4, heads=8, channels=96).save(tmp_path / "model")
    events = finish(spec(), tmp_path / "work", roots)
    result = events[-1]
    assert isinstance(result, Result)
    dense, pruned = (Checkpoint.open(tmp_path / name) for name in ("model", "work/checkpoint"))
    assert result.parameters_before == dense.parameters
    assert result.parameters_after == pruned.parameters
    assert pruned.parameters == pytest.approx(0.75 * dense.parameters, rel=0.002)
    assert [verified.max_difference for verified in of_type(events, Verified)] == [0.0]
    assert [layer.layer for layer in of_type(events, LayerFinished)] == [0, 1, 2]
    assert all(p.pruned > 0 and p.dense > 0 for p in of_type(events, Perplexity))
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["checkpoint"]
    assert_report_agrees(tmp_path / "work/checkpoint/report.json", result)


def assert_report_agrees(file: Path, result: Result) -> None:
    report = json.loads(file.read_text())
    assert report["model"]["parameters_after"] == result.parameters_after
    told = json.loads(result.model_dump_json())
    assert [{"point": 0, **one} for one in report["perplexity"]] == told["perplexity"]
    assert [{"point": 0, **one} for one in report["layers"]] == told["layers"]
    assert PruneSpec.model_validate(report["spec"]) == spec()
    assert report["calibration"]["documents_used"] > 0
    assert_times_add_up(report, result)
    assert_it_can_be_repeated(report)


def assert_times_add_up(report: dict[str, Any], result: Result) -> None:
    """One duration, of which the stages are parts; the report says what it cannot know."""
    assert list(result.stages) == ["start", "resolve", "plan", "prune", "evaluate", "verify"]
    assert sum(result.stages.values()) == pytest.approx(result.seconds)
    assert list(report["seconds"]) == list(result.stages)
    assert set(report["seconds_unknown"]) == {"verify", "publish"}
    for stage, seconds in report["seconds"].items():
        assert 0 <= seconds <= result.stages[stage] + 0.1, stage


def assert_it_can_be_repeated(report: dict[str, Any]) -> None:
    environment = report["environment"]
    assert {"python", "torch", "transformers", "datasets"} <= set(environment["versions"])
    assert environment["versions"]["torch"] == torch.__version__
    assert environment["processor"]
    assert environment["threads"] == torch.get_num_threads()
    assert PruneSpec.model_validate(report["repeat"]["body"]) == spec()
    assert report["assessment"]["meaning"] in report["verdict"]
    assert all(len(one["sha256"]) == 64 for one in report["perplexity"])


@pytest.mark.parametrize("method", ["slimgpt", "magnitude", "wanda-sp", "flap"])
@pytest.mark.parametrize("stop_after", [1, 2])
def test_a_resumed_job_gives_the_same_bytes(
    method: str, stop_after: int, roots: Roots, tmp_path: Path
) -> None:
    Tiny("qwen2", tokenizer=True, kv_heads=4, heads=8).save(tmp_path / "model")
    job = spec(method=method)
    prune_layers(run(job, tmp_path / "whole", roots, "cpu"), 3)
    prune_layers(run(job, tmp_path / "work", roots, "cpu"), stop_after)
    layers = prune_layers(run(job, tmp_path / "work", roots, "cpu", resume=True), 3)
    assert [layer.resumed for layer in layers] == [i < stop_after for i in range(3)]
    assert weights(tmp_path / "work/layers") == weights(tmp_path / "whole/layers")
    assert not (tmp_path / "work/checkpoint").exists()


def prune_layers(events: Iterator[Event], count: int) -> list[LayerFinished]:
    """Run until `count` layers are finished, then interrupt."""
    layers: list[LayerFinished] = []
    while len(layers) < count:
        event = next(events)
        if isinstance(event, LayerFinished):
            layers.append(event)
    events.close()  # type: ignore[attr-defined]
    return layers


def test_ratio_0_gives_the_same_tensors_bit_for_bit(roots: Roots, tmp_path: Path) -> None:
    Tiny("qwen3", tokenizer=True, tied=True, dtype="bfloat16").save(tmp_path / "model")
    finish(spec(ratio=0), tmp_path / "work", roots)
    dense, pruned = (Checkpoint.open(tmp_path / name) for name in ("model", "work/checkpoint"))
    assert dense.tensors.keys() == pruned.tensors.keys()
    before, after = dense.load(dense.tensors), pruned.load(pruned.tensors)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_pruned_checkpoint_can_be_pruned_again(roots: Roots, tmp_path: Path) -> None:
    Tiny(tokenizer=True, kv_heads=4, heads=8, channels=96).save(tmp_path / "model")
    finish(spec(), tmp_path / "first", roots)
    (tmp_path / "first/checkpoint").rename(tmp_path / "again")
    events = finish(spec(model="local:again"), tmp_path / "second", roots)
    assert [verified.max_difference for verified in of_type(events, Verified)] == [0.0]


def test_damping_that_had_to_grow_is_a_warning_of_its_layer(roots: Roots, tmp_path: Path) -> None:
    """Eight tokens for 48 channels: in float32's rounding H is not definite at 1e-8."""
    Tiny(tokenizer=True).save(tmp_path / "model")
    little = {"source": "local:text.txt", "samples": 1, "sequence_length": 8}
    job = spec(damping=1e-8, calibration=little, evaluation={"texts": []})
    events = finish(job, tmp_path / "work", roots)
    grown = [layer for layer in of_type(events, LayerFinished) if layer.ffn_damping > 1e-8]
    assert grown
    warned = [event for event in of_type(events, Warned) if event.message.startswith("FFN")]
    assert [event.layer for event in warned] == [layer.layer for layer in grown]
    report = json.loads((tmp_path / "work/checkpoint/report.json").read_text())
    assert {f"layer {event.layer}: {event.message}" for event in warned} <= {*report["warnings"]}


def test_another_job_does_not_go_on_in_the_same_folder(roots: Roots, tmp_path: Path) -> None:
    Tiny(tokenizer=True).save(tmp_path / "model")
    prune_layers(run(spec(), tmp_path / "work", roots, "cpu"), 1)
    with pytest.raises(ResumeError, match="earlier run"):
        finish(spec(), tmp_path / "work", roots)
    with pytest.raises(ResumeError, match="another job"):
        finish(spec(ratio=0.3), tmp_path / "work", roots, resume=True)


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def torn(folder: Path) -> None:
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(20000)


def foreign(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "mamba"}))


def odd(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_act": "wobble"}))


def poisoned(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def empty_text(folder: Path) -> None:
    (folder.parent / "text.txt").write_text("")


BAD: list[tuple[Any, dict[str, Any], type[SlimGPTError], str]] = [
    (None, {"model": "local:absent"}, ModelNotFoundError, "absent"),
    (None, {"ratio": 0.99}, UnreachableTargetError, "nearest plan"),
    (None, {"schedule": {"shape": "explicit", "ratios": [0.1]}}, SpecError, "3 layers"),
    (pickled, {}, UnsupportedModelError, "pickle"),
    (torn, {}, BrokenCheckpointError, "model.safetensors"),
    (odd, {}, UnsupportedModelError, "transformers cannot build"),
    (foreign, {}, UnsupportedModelError, "mamba"),
    (poisoned, {}, NumericalError, "after layer 1: model.layers.1.mlp.up_proj.weight holds one"),
    (empty_text, {}, CalibrationError, "text.txt"),
]


@pytest.mark.parametrize(("harm", "changes", "error", "words"), BAD)
def test_bad_input_is_refused_in_clear_words(
    harm: Any, changes: dict[str, Any], error: type, words: str, roots: Roots, tmp_path: Path
) -> None:
    folder = Tiny(tokenizer=True).save(tmp_path / "model")
    if harm:
        harm(folder)
    with pytest.raises(error, match=words):
        finish(spec(**changes), tmp_path / "work", roots)
    assert not (tmp_path / "work/checkpoint").exists()


def arguments(tmp_path: Path) -> list[str]:
    return [
        *("run", str(tmp_path / "spec.json"), str(tmp_path / "work"), "--device", "cpu"),
        *("--models-root", str(tmp_path), "--texts-root", str(tmp_path)),
    ]


def test_a_worker_gives_a_job_so_many_devices(fork_server: ForkServer, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(spec(devices=3).model_dump_json())
    words = [*fork_server.command("slimgpt"), *arguments(tmp_path), "--max-devices", "2"]
    engine = subprocess.run(words, stdout=subprocess.PIPE, check=False)
    assert engine.returncode == 1
    failed = parse(engine.stdout)
    assert isinstance(failed, Failed)
    assert failed.code == "invalid-spec"
    assert "devices: 3 were asked for, this worker gives 2 to a job" in failed.message


def test_killed_as_a_process_and_resumed(
    fork_server: ForkServer, roots: Roots, tmp_path: Path
) -> None:
    Tiny(tokenizer=True).save(tmp_path / "model")
    (tmp_path / "spec.json").write_text(spec().model_dump_json())
    prune_layers(run(spec(), tmp_path / "whole", roots, "cpu"), 3)
    words = [*fork_server.command("slimgpt"), *arguments(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as engine:
        assert engine.stdout is not None
        for line in engine.stdout:
            if isinstance(parse(line), LayerFinished):
                engine.send_signal(signal.SIGKILL)
                break
        engine.stdout.read()  # the fork has ended, too
    assert engine.returncode == -signal.SIGKILL
    events = list(run(spec(), tmp_path / "work", roots, "cpu", resume=True))
    assert isinstance(events[-1], Result)
    assert of_type(events, LayerFinished)[0].resumed
    made = load_file(tmp_path / "work/checkpoint/model.safetensors")
    layers = sorted((tmp_path / "whole/layers").glob("layer-*.safetensors"))
    assert len(layers) == 3
    for name, tensor in [pair for file in layers for pair in load_file(file).items()]:
        assert torch.equal(made[name], tensor)


def test_a_process_that_fails_says_so_in_its_last_line(
    fork_server: ForkServer, tmp_path: Path
) -> None:
    (tmp_path / "spec.json").write_text(spec(model="local:absent").model_dump_json())
    words = [*fork_server.command("slimgpt"), *arguments(tmp_path)]
    done = subprocess.run(words, capture_output=True, check=False, text=True, timeout=300)
    assert done.returncode == 1
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["type"], last["code"]) == ("failed", "model-not-found")
    assert last["hint"]


def test_a_specification_that_is_none_is_refused(fork_server: ForkServer, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text('{"model": "local:x", "ratio": "a lot"}')
    words = [*fork_server.command("slimgpt"), *arguments(tmp_path)]
    done = subprocess.run(words, capture_output=True, check=False, text=True, timeout=300)
    assert done.returncode == 1
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["code"] == "invalid-spec"
    assert "ratio" in last["message"]


def test_evaluation_text_that_calibration_has_seen_is_warned_of(
    roots: Roots, tmp_path: Path
) -> None:
    """The evaluation text holds one calibration document, all its 128 tokens."""
    words = random.Random(0)
    documents = ["".join(words.choices("abcdefgh ", k=128)) for _ in range(8)]
    rows = [json.dumps({"text": document}) for document in documents]
    (tmp_path / "seen.jsonl").write_text("\n".join(rows))
    fresh = "".join(words.choices("abcdefgh ", k=872))
    (tmp_path / "exam.txt").write_text(documents[3] + fresh)
    Tiny(tokenizer=True).save(tmp_path / "model")
    job = spec(
        calibration={"source": "local:seen.jsonl", "samples": 8, "sequence_length": 128},
        evaluation={"texts": ["local:exam.txt"], "sequence_lengths": [50]},
    )
    tokenizer = Tokenizer.load(tmp_path / "model")
    drawn = draw_calibration(job, tokenizer, roots)
    evaluation_sets = unroll(build_evaluation_sets(job, tokenizer, drawn, roots))
    (warning,) = overlaps(drawn, evaluation_sets)
    assert warning.message.startswith("evaluation on local:exam.txt: 3 of 20 windows of 50 tokens")
    (tmp_path / "exam.txt").write_text(fresh)
    evaluation_sets = unroll(build_evaluation_sets(job, tokenizer, drawn, roots))
    assert list(overlaps(drawn, evaluation_sets)) == []


def unroll(work: Generator[Event, None, T]) -> T:
    """What a generator returns, its events thrown away."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result
