"""Metrics on sequences made by hand, and against transformers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from benchmarks.quality import dense, measures
from tests.slimgpt.tiny import Tiny, tokens


def test_continuations_agree_up_to_the_first_difference() -> None:
    dense_NT = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4]])
    pruned_NT = torch.tensor([[1, 2, 3, 4], [1, 2, 9, 4], [9, 2, 3, 4]])
    assert measures.agreed(dense_NT, pruned_NT) == pytest.approx((4 + 2 + 0) / 12)


def test_repeated_grams() -> None:
    assert measures.repeated(torch.arange(10)[None]) == 0
    same = torch.zeros(1, 10, dtype=torch.int64)  # 7 grams of 4, of which 6 stood there before
    assert measures.repeated(same) == pytest.approx(6 / 7)
    pairs = torch.tensor([[1, 2, 1, 2, 1, 2]])  # (1 2 1 2) (2 1 2 1) (1 2 1 2)
    assert measures.repeated(pairs) == pytest.approx(1 / 3)
    assert measures.repeated(torch.cat([same, torch.arange(10)[None]])) == pytest.approx(3 / 7)


def test_likelihood_of_known_chances() -> None:
    """Tokens of chance 1/2 each have perplexity 2; given tokens do not count."""

    def logits(ids_BS: Tensor) -> Tensor:
        found_BSV = torch.full((*ids_BS.shape, 3), -math.inf)
        found_BSV[..., 0] = math.log(0.5)
        found_BSV[..., 1] = math.log(0.5) - 1e-9
        found_BSV[..., 2] = -50.0
        return found_BSV

    windows = torch.tensor([[2, 2, 0, 1], [2, 2, 1, 1], [2, 2, 0, 0]])
    perplexity, choices = measures.likelihood(logits, windows, given=2, together=2)
    assert perplexity == pytest.approx(2, rel=1e-5)
    assert choices.tolist() == [[0, 0]] * 3
    assert measures.share_equal(choices, windows[:, 2:]) == pytest.approx(3 / 6)


def test_perplexity_is_that_of_transformers() -> None:
    tiny = Tiny("llama")
    model, ids = tiny.build(), tokens(tiny, batch=3)
    perplexity, choices = dense.likelihood(model, ids, given=1)
    with torch.no_grad():
        loss = model(input_ids=ids, labels=ids).loss
    assert perplexity == pytest.approx(math.exp(float(loss)), rel=1e-5)
    with torch.no_grad():
        assert torch.equal(choices, model(ids).logits.argmax(-1)[:, :-1])


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_continuations_are_greedy(family: str) -> None:
    """Without a cache, token by token; the end of a text is never chosen."""
    tiny = Tiny(family)
    model, prompts = tiny.build(), tokens(tiny, batch=3, length=6)
    written, ids = [], prompts
    with torch.no_grad():
        for _ in range(9):
            last = model(ids, use_cache=False).logits[:, -1]
            last[:, 2] = -math.inf
            ids = torch.cat([ids, last.argmax(-1)[:, None]], dim=1)
            written.append(ids[:, -1])
    model.generation_config.eos_token_id = 2
    assert torch.equal(measures.continued(model, prompts, 9), torch.stack(written, dim=1))
