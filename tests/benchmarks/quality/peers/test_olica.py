"""Decompositions at full rank are exact; calibration against least squares."""

from __future__ import annotations

import pytest
import torch

from benchmarks.quality import measures
from benchmarks.quality.peers import olica, units
from benchmarks.quality.peers.olica import Plan, Seen
from benchmarks.quality.peers.stream import Stream
from tests.slimgpt.tiny import Tiny, tokens


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma3_text"])
def test_at_full_rank_nothing_changes(family: str) -> None:
    tiny = Tiny(family)
    model, ids = tiny.build(), tokens(tiny, batch=4)
    with torch.no_grad():
        expected = model(ids).logits
        stream = Stream(model, ids)
        for index, layer in enumerate(model.model.layers):
            seen = Seen(layer)
            stream.batches_BSD = seen.run(stream, index)
            before = layer.self_attn.v_proj.weight.clone()
            olica.turn_values(layer.self_attn, seen.out)
            assert not torch.allclose(layer.self_attn.v_proj.weight, before, atol=0.01)
            attention = layer.self_attn
            query, key = (min(one.weight.shape) for one in (attention.q_proj, attention.k_proj))
            plan = Plan(query, key, attention.head_dim, 0, frozenset())
            olica.cut_attention(attention, seen, plan)
        torch.testing.assert_close(model(ids).logits, expected, rtol=1e-3, atol=1e-3)


def test_narrow_heads_are_those_whose_other_neurons_are_zero() -> None:
    tiny = Tiny("llama")
    model, ids = tiny.build(), tokens(tiny, batch=4)
    attention = model.model.layers[0].self_attn
    with torch.no_grad():
        seen = Seen(model.model.layers[0])
        seen.run(Stream(model, ids), 0)
        kept_GH = olica.important_values(attention, seen, 5)
        assert kept_GH.shape == (2, 5)
        mask_GH = torch.zeros(2, 8).scatter(1, kept_GH, 1.0)
        attention.v_proj.weight.mul_(mask_GH.flatten()[:, None])
        expected = model(ids).logits
        olica.cut_attention(attention, seen, Plan(32, 16, 5, 0, frozenset()))
        torch.testing.assert_close(model(ids).logits, expected, rtol=1e-3, atol=1e-3)
    assert attention.v_proj.inner.out_features == 2 * 5
    assert attention.o_proj.inner.in_features == 4 * 5


def test_factors_are_the_best_for_inputs_of_such_sizes() -> None:
    """Eckart and Young: no other factors of the rank lose less on inputs that do not correlate."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    reads = torch.rand(5, generator=generator, dtype=torch.float64) + 0.1
    with torch.no_grad():
        into, out = olica.factors(units.of_weight(weight), reads, 2).parameters()
        lost = (weight - out @ into) * reads
    smallest = torch.linalg.svdvals(weight * reads)[2:].square().sum()
    assert float(lost.square().sum()) == pytest.approx(float(smallest))


def test_regression_is_ridge_regression() -> None:
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(50, 4, generator=generator)
    Y = torch.randn(50, 4, generator=generator)
    ridge = olica.RIDGE * float((X.T @ X).diagonal().mean()) * olica.RIDGE_TOKENS / 50
    more = torch.cat([X, torch.eye(4) * ridge**0.5]).double()
    expected = torch.linalg.lstsq(more, torch.cat([Y, torch.zeros(4, 4)]).double()).solution
    found, correlation = olica.regression(X, Y)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    pairs = [torch.stack([a, b]) for a, b in zip((X.double() @ found).T, Y.double().T, strict=True)]
    expected_r = torch.stack([torch.corrcoef(pair)[0, 1] for pair in pairs])
    torch.testing.assert_close(correlation, expected_r, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_the_target_is_met(share: float) -> None:
    tiny = Tiny("llama", layers=6, channels=160, tied=True)
    model, ids = tiny.build(), tokens(tiny, batch=8)
    whole = units.size(model)
    note = olica.prune(model, ids, round((1 - share) * whole))
    assert "1 layers calibrated" in note
    channel = 3 * tiny.hidden * 6  # of each layer: the smallest step there is
    assert abs(units.size(model) - (1 - share) * whole) <= channel / 2 + 1
    assert measures.continued(model, ids, 3).shape == (8, 3)
