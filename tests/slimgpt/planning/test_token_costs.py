"""A token's costs: what a real cache and a real count of operations say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.planning import token_costs
from tests.slimgpt.tiny import Tiny


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2", "qwen3", "gemma3_text"])
def test_costs_are_those_of_the_stock_model(family: str, tmp_path: Path) -> None:
    tiny = Tiny(family)
    checkpoint = Checkpoint.open(tiny.save(tmp_path / "model"))
    costs = token_costs.of(checkpoint, checkpoint.architecture.sizes)
    assert costs.cache_bytes_after == costs.cache_bytes_before
    assert costs.operations_after == costs.operations_before
    model = tiny.build()
    ids = torch.randint(3, tiny.vocabulary, (1, 5))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        output = model(ids, use_cache=True)
    matrices = sum(
        count for operation, count in counter.get_flop_counts()["Global"].items()
        if "mm" in str(operation) and "bmm" not in str(operation)
    )  # fmt: skip
    assert costs.operations_before * 5 == matrices
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in output.past_key_values.layers)
    assert costs.cache_bytes_before * 5 == held


def test_a_token_is_routed_to_some_experts_only(tmp_path: Path) -> None:
    tiny = Tiny("qwen3_moe")  # 4 experts, 2 of them a token
    checkpoint = Checkpoint.open(tiny.save(tmp_path / "model"))
    costs = token_costs.of(checkpoint, checkpoint.architecture.sizes)
    expert = 3 * tiny.hidden * tiny.channels * 2 * tiny.layers  # operations of one, all layers
    dense = sum(
        2 * info.count for name, info in checkpoint.tensors.items()
        if len(info.shape) == 2 and "embed_tokens" not in name
    )  # fmt: skip
    assert costs.operations_before == dense - 2 * expert


def test_what_is_pruned_is_saved(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(Tiny(layers=2).save(tmp_path / "model"))
    costs = token_costs.of(checkpoint, [LayerSize(2, 1, 24), LayerSize(4, 2, 48)])
    assert costs.cache_bytes_after / costs.cache_bytes_before == 3 / 4
    removed = 2 * (32 * 16 * 2 + 32 * 8 * 2 + 3 * 32 * 24)
    assert costs.operations_before - costs.operations_after == removed
