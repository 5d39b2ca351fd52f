"""Activations side by side, against the hidden states that transformers gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.output import whole_model
from slimgpt.layers import drift
from slimgpt.layers.stack import Stack
from slimgpt.pipeline import run
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import PruneSpec
from tests.slimgpt.tiny import Tiny

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pruned checkpoint; the dense one is `model` beside its work folder."""
    tmp_path = tmp_path_factory.mktemp("drift")
    Tiny(tokenizer=True).save(tmp_path / "model")
    (tmp_path / "text.txt").write_text("All work and no play. " * 60)
    calibration = {"source": "local:text.txt", "samples": 8, "sequence_length": 32}
    spec = PruneSpec.model_validate(
        {"model": "local:model", "ratio": 0.3, "calibration": calibration,
         "evaluation": {"texts": []}}
    )  # fmt: skip
    list(run(spec, tmp_path / "work", Roots(models=tmp_path, texts=tmp_path), "cpu"))
    return tmp_path / "work" / "checkpoint"


@torch.no_grad()
def test_the_stream_is_that_of_transformers(pruned: Path, tmp_path: Path) -> None:
    tokens = torch.randint(259, (3, 20), generator=torch.Generator().manual_seed(1))
    dense = Checkpoint.open(pruned.parent.parent / "model")
    smaller = Checkpoint.open(pruned)
    found = list(drift.measure(Stack(dense, CPU), Stack(smaller, CPU), tokens))
    states = []
    for checkpoint in (dense, smaller):
        folder = whole_model.mirror(checkpoint, tmp_path / "mirror")
        model = whole_model.load(folder, checkpoint.architecture.family, "float32", CPU)
        states.append(_layer_outputs(model, tokens))
    for one, before, after in zip(found, *states, strict=True):
        expected = float((after - before).pow(2).sum() / before.pow(2).sum())
        assert one.stream == pytest.approx(expected, rel=1e-4)
    assert [one.layer for one in found] == [0, 1, 2]
    assert all(one.stream > 0 and one.ffn > 0 for one in found)


def _layer_outputs(model: AutoModelForCausalLM, tokens: torch.Tensor) -> list[torch.Tensor]:
    outputs: list[torch.Tensor] = []
    for layer in model.model.layers:
        layer.register_forward_hook(lambda _m, _i, out: outputs.append(out))
    model(tokens)
    return [out[0] if isinstance(out, tuple) else out for out in outputs]


def test_a_model_does_not_drift_from_itself(pruned: Path) -> None:
    stack = Stack(Checkpoint.open(pruned), CPU)
    tokens = torch.arange(40).view(2, 20)
    assert all(one.stream == one.ffn == 0 for one in drift.measure(stack, stack, tokens))


def test_the_report_has_it_for_every_layer_with_the_memory_of_every_stage(pruned: Path) -> None:
    report = json.loads((pruned / "report.json").read_bytes())
    assert [(row["model"], row["layer"]) for row in report["drift"]] == [
        ("pruned", 0), ("pruned", 1), ("pruned", 2)]  # fmt: skip
    assert set(report["stage_memory_bytes"]) == {"resolve", "plan", "prune", "evaluate"}
    assert report["peak_memory_bytes"] >= max(report["stage_memory_bytes"].values()) > 0
