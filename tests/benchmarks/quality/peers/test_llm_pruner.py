"""Taylor importance against finite differences; removal against a model whose units are zero."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.quality import measures
from benchmarks.quality.peers import llm_pruner, units
from tests.slimgpt.tiny import Tiny, tokens

STEP = 0.02  # norms compute in float32, whatever the model does: differences of fourth order
COEFFICIENTS = {2: -1 / 12, 1: 8 / 12, -1: -8 / 12, -2: 1 / 12}


def loss(model: Any, ids: Tensor) -> float:
    with torch.no_grad():
        logits = model(input_ids=ids).logits[:, :-1].double()
        return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()))


def slope(model: Any, ids: Tensor, weights: Tensor, place: int) -> float:
    """The derivative of the loss by one weight, by finite differences."""
    value, total = float(weights[place]), 0.0
    for steps, coefficient in COEFFICIENTS.items():
        weights[place] = value + steps * STEP
        total += coefficient * loss(model, ids) / STEP
    weights[place] = value
    return total


@pytest.mark.parametrize("name", [*llm_pruner.ATTENTION, *llm_pruner.FFN])
def test_importance_is_the_first_order_change_of_the_loss(name: str) -> None:
    tiny = Tiny("llama", layers=2, hidden=8, heads=4, kv_heads=2, channels=6, vocabulary=16)
    model, ids = tiny.build().double(), tokens(tiny, batch=4, length=8)
    found = llm_pruner.taylor(model, ids)[1][name]
    layer = model.model.layers[1]
    module = layer.self_attn if name in llm_pruner.ATTENTION else layer.mlp
    weights = getattr(module, name).weight.data.view(-1)
    expected = [
        abs(float(weights[at]) * slope(model, ids, weights, at)) for at in range(len(weights))
    ]
    torch.testing.assert_close(found.flatten(), torch.tensor(expected), rtol=1e-3, atol=1e-4)


def test_scores_add_up_to_all_of_a_layer() -> None:
    tiny = Tiny("llama")
    model, ids = tiny.build(), tokens(tiny)
    saliences = llm_pruner.taylor(model, ids)[0]
    heads = llm_pruner.attention_scores(model.model.layers[0].self_attn, saliences)
    assert heads.shape == (2,)
    whole = sum(float(saliences[name].sum()) for name in llm_pruner.ATTENTION)
    assert float(heads.sum()) == pytest.approx(whole, rel=1e-5)
    channels = llm_pruner.channel_scores(saliences)
    assert float(channels.sum()) == pytest.approx(
        sum(float(saliences[name].sum()) for name in llm_pruner.FFN), rel=1e-5
    )


@pytest.mark.parametrize(("family", "kv_heads"), [("llama", 2), ("gemma3_text", 1)])
def test_a_cut_model_is_one_whose_units_write_nothing(family: str, kv_heads: int) -> None:
    tiny = Tiny(family, kv_heads=kv_heads)
    model, ids = tiny.build(), tokens(tiny)
    attention, mlp = model.model.layers[1].self_attn, model.model.layers[1].mlp
    count = units.attention_units(attention)
    gone = torch.tensor([0])
    query_rows, _ = units.of_units(attention, gone)
    with torch.no_grad():
        attention.o_proj.weight[:, query_rows] = 0
        mlp.down_proj.weight[:, 5] = 0
        expected = model(ids).logits
        units.keep_units(attention, torch.arange(1, count))
        units.keep_channels(mlp, torch.tensor([c for c in range(48) if c != 5]))
        torch.testing.assert_close(model(ids).logits, expected)
    assert measures.continued(model, ids, 3).shape == (2, 3)


def test_the_target_is_met_and_the_ends_are_spared() -> None:
    tiny = Tiny("llama", layers=8, channels=96)
    model, ids = tiny.build(), tokens(tiny, batch=4)
    whole = units.size(model)
    llm_pruner.prune(model, ids, round(0.7 * whole))
    widths = [layer.mlp.gate_proj.out_features for layer in model.model.layers]
    assert widths[0] == 96
    assert max(widths[1:]) == min(widths[1:]) < 96
    channel = 3 * tiny.hidden * 7  # of each layer that is pruned: the smallest step there is
    assert abs(units.size(model) - 0.7 * whole) <= channel / 2 + 1
