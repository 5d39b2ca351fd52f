"""`uniform` and `padded` of every family: the stock class computes the same, or it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.families.table import FAMILIES
from slimgpt.errors import SpecError
from slimgpt.formats import stock, support
from slimgpt.layers.stack import Stack
from tests.compatibility.matrix import alike
from tests.slimgpt.pruned import lots, publish
from tests.slimgpt.tiny import Tiny, tokens

SPANNING = "span the hidden size"
UNIFORM = dict.fromkeys(("stablelm", "gpt_neox", "gpt2", "opt", "falcon"), SPANNING)
PADDED = {
    **dict.fromkeys(("phi3", "gpt_neox", "gpt2", "falcon"), "fused projections"),
    **dict.fromkeys(("mixtral", "qwen3_moe"), "experts"),
    "olmo2": "norms over all heads",
}


def dense(family: str, folder: Path) -> tuple[Tiny, Checkpoint]:
    model = Tiny(family, hidden=64, heads=8, kv_heads=4, channels=96)
    return model, Checkpoint.open(model.save(folder))


def logits(folder: Path, ids: torch.Tensor) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert type(model).__module__.startswith("transformers.")
    with torch.no_grad():
        found: torch.Tensor = model(ids).logits
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_of_one_size_are_a_stock_class(family: str, tmp_path: Path) -> None:
    model, whole = dense(family, tmp_path / "dense")
    pruned = Checkpoint.open(publish(whole, alike(whole.architecture), tmp_path / "pruned"))
    (tmp_path / "out").mkdir()
    if reason := UNIFORM.get(family):
        assert reason in support.obstacle("uniform", pruned.architecture, pruned.config)
        with pytest.raises(SpecError, match=reason):
            stock.write_uniform(pruned, tmp_path / "out")
        assert not list((tmp_path / "out").iterdir())
        return
    stock.write_uniform(pruned, tmp_path / "out")
    ids = tokens(model, length=40)
    expected = Stack(pruned, torch.device("cpu")).logits(ids)
    assert torch.equal(logits(tmp_path / "out", ids), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_zeros_fill_layers_up_and_compute_nothing(family: str, tmp_path: Path) -> None:
    model, whole = dense(family, tmp_path / "dense")
    pruned = Checkpoint.open(publish(whole, lots(whole.architecture, seed=2), tmp_path / "pruned"))
    (tmp_path / "out").mkdir()
    if reason := PADDED.get(family):
        assert reason in support.obstacle("padded", pruned.architecture, pruned.config)
        with pytest.raises(SpecError, match=reason):
            stock.write_padded(pruned, tmp_path / "out")
        assert not list((tmp_path / "out").iterdir())
        return
    stock.write_padded(pruned, tmp_path / "out")
    ids = tokens(model, length=40)
    expected = Stack(pruned, torch.device("cpu")).logits(ids)
    assert torch.allclose(logits(tmp_path / "out", ids), expected, atol=1e-5)
