"""A rotated model computes what the dense one does, until it is cut."""

from __future__ import annotations

import pytest
import torch

from benchmarks.quality import measures
from benchmarks.quality.peers import slicegpt, units
from slimgpt.errors import UnsupportedModelError
from tests.slimgpt.tiny import Tiny, tokens


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_nothing_sliced_nothing_changed(family: str, tied: bool) -> None:
    tiny = Tiny(family, tied=tied)
    model, ids = tiny.build(), tokens(tiny, batch=4)
    with torch.no_grad():
        expected = model(ids).logits
        slicegpt.slice_to(model, ids, tiny.hidden)
        torch.testing.assert_close(model(ids).logits, expected, rtol=1e-3, atol=1e-3)
    embedding = model.model.embed_tokens.weight
    assert (model.lm_head.weight is embedding) == tied


@pytest.mark.parametrize("tied", [True, False])
def test_parameters_are_counted_as_they_are_and_meet_the_target(tied: bool) -> None:
    tiny = Tiny("llama", tied=tied)
    model, ids = tiny.build(), tokens(tiny, batch=4)
    whole = units.size(model)
    expected = slicegpt.parameters(model, 20)
    step = slicegpt.parameters(model, 21) - expected
    note = slicegpt.prune(model, ids, expected + step // 3)
    assert note == "hidden size 20 of 32"
    assert units.size(model) == expected < whole * 1.5
    assert measures.continued(model, ids, 3).shape == (4, 3)


def test_what_stays_is_what_the_stream_holds() -> None:
    """A stream of rank 2 loses nothing with two directions."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(3, 10, 2, generator=generator) @ torch.randn(2, 6, generator=generator)
    directions = slicegpt.principal([rows], 2)
    back = rows.double() @ directions @ directions.T
    torch.testing.assert_close(back, rows.double(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(directions.T @ directions, torch.eye(2, dtype=torch.float64))


def test_norms_after_a_sublayer_are_refused() -> None:
    tiny = Tiny("gemma3_text")
    with pytest.raises(UnsupportedModelError, match="a norm after each sublayer"):
        slicegpt.prune(tiny.build(), tokens(tiny), 1000)
