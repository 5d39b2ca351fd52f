"""Block Influence against the hidden states that transformers tells."""

from __future__ import annotations

import pytest
import torch

from benchmarks.quality import measures
from benchmarks.quality.peers import shortgpt, units
from tests.slimgpt.tiny import Tiny, tokens


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_influence_is_the_change_of_the_stream(family: str) -> None:
    tiny = Tiny(family, layers=3)
    model, ids = tiny.build(), tokens(tiny, batch=6)
    outs = []
    for layer in model.model.layers:
        layer.register_forward_hook(lambda _, args, out: outs.append((args[0], out)))
    with torch.no_grad():
        model(ids)
    expected = [
        1 - torch.nn.functional.cosine_similarity(before, after, dim=-1).mean()
        for before, after in outs
    ]
    found = shortgpt.influences(model, ids)
    torch.testing.assert_close(found.float(), torch.stack(expected))


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_the_layer_of_highest_similarity_leaves(family: str) -> None:
    tiny = Tiny(family, layers=3)
    model, ids = tiny.build(), tokens(tiny)
    influence_L = shortgpt.influences(model, ids)
    least = int(influence_L.argmin())
    expected = [layer for index, layer in enumerate(model.model.layers) if index != least]
    whole, one = units.size(model), units.size(model.model.layers[0])
    shortgpt.prune(model, ids, whole - one)
    assert list(model.model.layers) == expected
    assert units.size(model) == whole - one
    assert measures.continued(model, ids, 4).shape == (2, 4)  # its cache has as many layers
