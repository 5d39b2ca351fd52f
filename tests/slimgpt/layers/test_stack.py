"""A model run layer by layer computes what transformers computes with the whole model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.layers.stack import Stack
from tests.slimgpt.tiny import FALCON_7B, FALCON_OLD, FAMILIES, Tiny, tokens

CPU = torch.device("cpu")
MODELS = [
    *(Tiny(family) for family in FAMILIES),
    *(Tiny(family, tied=True, head_dim=12, biases=True) for family in FAMILIES),
    Tiny("stablelm", own={"use_parallel_residual": True, "qk_layernorm": True}),
    Tiny("gpt_neox", own={"use_parallel_residual": False}),
    Tiny("gpt2", own={"scale_attn_by_inverse_layer_idx": True}, dtype="bfloat16"),
    Tiny("gemma2", dtype="bfloat16"),
    Tiny("falcon", own=FALCON_7B, kv_heads=1),
    Tiny("falcon", own=FALCON_OLD, kv_heads=4),
    Tiny("llama", biases=True, llama3_rope=True),
    Tiny("qwen3", biases=True),
    Tiny("llama", kv_heads=4),
    Tiny("llama", kv_heads=1, max_shard_size="20KB"),
    Tiny("llama", dtype="bfloat16"),
]


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_logits_are_bit_equal_to_transformers(model: Tiny, tmp_path: Path) -> None:
    assert_same_logits(model.save(tmp_path / "model"), model, length=24)


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("mistral", {"sliding_window": 8}),
        (
            "qwen2",
            {
                "sliding_window": 8,
                "use_sliding_window": True,
                "layer_types": ["full_attention", "sliding_attention", "full_attention"],
            },
        ),
    ],
)
def test_sliding_windows_are_those_of_the_model(
    family: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    model = Tiny(family)
    folder = model.save(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))
    narrow = assert_same_logits(folder, model, length=24)
    (folder / "config.json").write_text(json.dumps(config))
    assert not torch.equal(narrow, Stack(Checkpoint.open(folder), CPU).logits(tokens(model)))


def assert_same_logits(folder: Path, model: Tiny, length: int) -> torch.Tensor:
    token_ids = tokens(model, batch=3, length=length)
    whole = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
    with torch.no_grad():
        expected = whole(token_ids).logits
    got = Stack(Checkpoint.open(folder), CPU).logits(token_ids)
    assert torch.equal(got, expected)
    return got


def test_advancing_in_batches_equals_one_pass(tmp_path: Path) -> None:
    model = Tiny("llama")
    stack = Stack(Checkpoint.open(model.save(tmp_path / "model")), CPU)
    token_ids = tokens(model, batch=200, length=100)
    with torch.no_grad():
        batches = stack.embed(token_ids)
        assert len(batches) > 1
        for index in range(model.layers):
            stack.advance(index, stack.layer(index).forward, batches)
        logits = stack.head()(torch.cat(batches))
    assert torch.allclose(logits[:3], stack.logits(token_ids[:3]), atol=1e-4)
