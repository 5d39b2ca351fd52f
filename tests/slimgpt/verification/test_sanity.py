"""What no header shows of a model: found in its first seconds, and said in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.errors import NumericalError, UnsupportedModelError
from slimgpt.events import LayerFinished
from slimgpt.layers.stack import Stack
from slimgpt.methods.baselines import best_units
from slimgpt.methods.problem import Units
from slimgpt.pipeline import run
from slimgpt.planning.preview import plan_preview
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import PruneSpec
from slimgpt.stages.export import export
from slimgpt.verification import sanity
from slimgpt.verification.formats import Probe
from slimgpt.verification.reload import verify
from tests.slimgpt.test_pipeline import SETTINGS, TEXT
from tests.slimgpt.tiny import FAMILIES, Tiny, tokens

CPU = torch.device("cpu")
WEIGHTS = "model.safetensors"


def edit(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def job(roots: Roots, tmp_path: Path, **changes: Any) -> None:
    """Run a job of the folder `model`; none of its layers may be pruned."""
    (roots.texts / "text.txt").write_text(TEXT)
    settings = PruneSpec.model_validate(SETTINGS | changes)
    for event in run(settings, tmp_path / "work", roots, "cpu"):
        assert not isinstance(event, LayerFinished)


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_outside_the_embedding_is_refused_where_the_family_reads_it(
    family: str, roots: Roots
) -> None:
    """By a plan, which loads no torch, exactly where transformers cannot build the model."""
    folder = Tiny(family).save(roots.models / "model")
    edit(folder / "config.json", pad_token_id=64)
    plan = PruneSpec(model="local:model", ratio=0.2)
    try:
        sanity.build(Checkpoint.open(folder))
    except UnsupportedModelError:
        with pytest.raises(UnsupportedModelError, match=r"pad_token_id is 64, .* has 64 rows"):
            plan_preview(plan, roots)
    else:
        assert plan_preview(plan, roots).layers


CONFIGS: dict[str, dict[str, Any]] = {
    "padding": {"pad_token_id": 259},
    "an activation": {"hidden_act": "no_such"},
    "positions": {"rope_parameters": {"rope_type": "no_such", "rope_theta": 1e4}},
    "a norm": {"rms_norm_eps": "small"},
    "a switch": {"use_cache": []},
}


@pytest.mark.parametrize("what", CONFIGS)
def test_a_config_from_which_nothing_is_built_fails_the_job_in_its_first_stage(
    what: str, roots: Roots, tmp_path: Path
) -> None:
    folder = Tiny(tokenizer=True).save(roots.models / "model")
    edit(folder / "config.json", **CONFIGS[what])
    with pytest.raises(UnsupportedModelError, match=r"^config\.json: "):
        job(roots, tmp_path)
    with pytest.raises(UnsupportedModelError, match=r"^config\.json: "):
        plan_preview(PruneSpec(model="local:model", ratio=0.2), roots, sanity.build)
    assert not (tmp_path / "work").exists()


def test_a_layer_in_the_middle_is_built_too(tmp_path: Path) -> None:
    folder = Tiny("gemma2").save(tmp_path / "model")
    kinds = ["sliding_attention", "no_such_attention", "sliding_attention"]
    edit(folder / "config.json", layer_types=kinds)
    with pytest.raises(UnsupportedModelError, match=r"config\.json: transformers cannot build"):
        sanity.build(Checkpoint.open(folder))


def test_settings_for_generation_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    folder = Tiny().save(tmp_path / "model")
    (folder / "generation_config.json").write_text('{"temperature": ')
    with pytest.raises(UnsupportedModelError, match=r"^generation_config\.json: "):
        sanity.build(Checkpoint.open(folder))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_built_and_computes(family: str, tmp_path: Path) -> None:
    tiny = Tiny(family)
    checkpoint = Checkpoint.open(tiny.save(tmp_path / "model"))
    sanity.build(checkpoint)
    assert list(sanity.compute(Stack(checkpoint, CPU), tokens(tiny, 1))) == [1, 2, 3]


def torn(folder: Path, name: str, value: float = float("nan")) -> None:
    tensors = load_file(folder / WEIGHTS)
    tensors[name].view(-1)[0] = value
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("model.norm.weight", "the final norm and the output head"),
        ("lm_head.weight", "the final norm and the output head"),
        ("model.layers.1.mlp.down_proj.weight", "layer 1"),
    ],
)
@pytest.mark.parametrize("method", ["slimgpt", "magnitude"])
def test_nan_is_found_before_a_layer_is_pruned(
    name: str, place: str, method: str, roots: Roots, tmp_path: Path
) -> None:
    folder = Tiny(tokenizer=True).save(roots.models / "model")
    torn(folder, name)
    with pytest.raises(NumericalError, match=f"after {place}: {name} holds one"):
        job(roots, tmp_path, method=method)
    with pytest.raises(NumericalError, match="NaN or infinity"):
        list(export(folder, tmp_path / "out", ["padded"], None, "cpu"))
    assert not (tmp_path / "out").exists()


def test_numbers_that_half_precision_cannot_hold_are_told_from_torn_weights(
    roots: Roots, tmp_path: Path
) -> None:
    folder = Tiny(tokenizer=True, dtype="float16").save(roots.models / "model")
    tensors = load_file(folder / WEIGHTS)
    for name in ("model.norm.weight", "lm_head.weight"):
        tensors[name].fill_(3e4)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(NumericalError, match="although its weights there are finite; float16 is"):
        job(roots, tmp_path)


def test_nothing_is_compared_with_nan(tmp_path: Path) -> None:
    """Neither a loader's numbers nor the scores of weights."""
    tiny = Tiny()
    ids, folder = tokens(tiny, 1), tiny.save(tmp_path / "model")
    logits = Stack(Checkpoint.open(folder), CPU).logits(ids)
    logits[0, 0, 0] = float("nan")
    with pytest.raises(NumericalError, match="cannot be verified"):
        verify(folder, ids, logits, CPU)
    with pytest.raises(NumericalError, match="cannot be verified"):
        Probe(ids, logits, CPU)
    with pytest.raises(NumericalError, match="scores are not finite"):
        best_units(torch.tensor([1.0, float("nan")]), Units(width=1, groups=1, quota=1))
