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
from slimgpt.spec.names import Format
from tests.slimgpt.pruned import alike, lots, publish
from tests.slimgpt.tiny import Tiny, tokens

SPANNING = "to be the hidden size"
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
@pytest.mark.parametrize("form", ["uniform", "padded"])
def test_a_stock_class_computes_what_the_pruned_layers_do(
    form: Format, family: str, tmp_path: Path
) -> None:
    """Layers of one size are its own, bit for bit; zeros that fill others up compute nothing."""
    model, whole = dense(family, tmp_path / "dense")
    one_size = form == "uniform"
    kept = alike(whole.architecture) if one_size else lots(whole.architecture, seed=2)
    pruned = Checkpoint.open(publish(whole, kept, tmp_path / "pruned"))
    write = stock.write_uniform if one_size else stock.write_padded
    (tmp_path / "out").mkdir()
    if reason := (UNIFORM if one_size else PADDED).get(family):
        assert reason in support.obstacle(form, pruned.architecture, pruned.config)
        with pytest.raises(SpecError, match=reason):
            write(pruned, tmp_path / "out")
        assert not list((tmp_path / "out").iterdir())
        return
    write(pruned, tmp_path / "out")
    ids = tokens(model, length=40)
    expected = Stack(pruned, torch.device("cpu")).logits(ids)
    tolerance = 0.0 if one_size else 1e-5
    assert torch.allclose(logits(tmp_path / "out", ids), expected, rtol=tolerance, atol=tolerance)
