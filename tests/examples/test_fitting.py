"""The fit on a model of a few thousand parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from examples.train.fitting import Check, Recipe, batch_of, fit, held_out_loss

RECIPE = Recipe(steps=12, batch=4, window=16, warmup=2, check_every=4)


@pytest.fixture
def tokens() -> Tensor:
    return torch.randint(8, (400,), generator=torch.Generator().manual_seed(1)).cumsum(0) % 31


@pytest.fixture
def fresh_model() -> Callable[[], LlamaForCausalLM]:
    def make() -> LlamaForCausalLM:
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=31,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
        )
        return LlamaForCausalLM(config)

    return make


def test_resumed_equals_uninterrupted(
    tokens: Tensor, fresh_model: Callable[[], LlamaForCausalLM], tmp_path: Path
) -> None:
    whole, halved = fresh_model(), fresh_model()
    at_once = list(fit(whole, tokens, tokens, RECIPE, tmp_path / "whole"))
    next(fit(halved, tokens, tokens, RECIPE, tmp_path / "halved"))  # cut off at its first check
    restarted = fresh_model()
    rest = list(fit(restarted, tokens, tokens, RECIPE, tmp_path / "halved"))
    assert rest == at_once[1:]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, restarted.state_dict()[name]), name


def test_best_weights_win(
    tokens: Tensor, fresh_model: Callable[[], LlamaForCausalLM], tmp_path: Path
) -> None:
    other = tokens.flip(0).contiguous()  # learning one direction hurts the other
    model = fresh_model()
    recipe = replace(RECIPE, steps=60, peak_rate=3e-2)
    checks: list[Check] = list(fit(model, tokens, other, recipe, tmp_path / "c"))
    lowest = min(check.held_out_loss for check in checks)
    assert lowest < checks[-1].held_out_loss
    assert held_out_loss(model, other, recipe.window) == pytest.approx(lowest, abs=1e-6)


def test_an_epoch_shows_every_window_once(tokens: Tensor) -> None:
    ramp = torch.arange(4 * 16 * 6 + 17)
    batches = [batch_of(ramp, RECIPE, step) for step in range(6)]
    starts = torch.cat(batches)[:, 0]
    assert len(set(starts.tolist())) == 24
    assert len({start % 16 for start in starts.tolist()}) == 1
    assert torch.equal(torch.cat(batches), starts[:, None] + torch.arange(17))


def test_held_out_loss_is_that_of_transformers(
    tokens: Tensor, fresh_model: Callable[[], LlamaForCausalLM]
) -> None:
    model = fresh_model().eval()
    rows = tokens[:400].view(-1, 16)
    reference = model(rows, labels=rows).loss.item()
    assert held_out_loss(model, tokens, 16) == pytest.approx(reference, rel=2e-3)  # bfloat16


def test_rate_rises_then_falls_to_zero() -> None:
    recipe = Recipe(steps=1000)
    rates = [recipe.rate(step) for step in range(1000)]
    assert max(rates) == recipe.peak_rate == rates[recipe.warmup]
    assert rates[: recipe.warmup] == sorted(rates[: recipe.warmup])
    assert rates[recipe.warmup :] == sorted(rates[recipe.warmup :], reverse=True)
    assert rates[-1] < recipe.peak_rate * 1e-4
