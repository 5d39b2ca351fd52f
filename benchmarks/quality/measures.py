"""What is measured of a model: perplexity and its first choices, and what it writes.

Multiple choice and perplexity hide a model that can no longer write (arXiv 2603.24652), so greedy
continuations are compared with the dense model's.

Names end in their shape: N windows or prompts, S tokens of a window, B windows of a batch,
V vocabulary, T tokens of a continuation, P predicted tokens of a window.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from slimgpt.layers.perplexity import LARGEST_LOG

Logits = Callable[[Tensor], Tensor]
"""Token ids (B, S) int64 → logits (B, S, V)."""
GRAM = 4


@torch.no_grad()
def likelihood(
    logits: Logits, windows_NS: Tensor, given: int, together: int = 1
) -> tuple[float, Tensor]:
    """Perplexity and first choices, in one pass.

    Args:
        windows_NS: int64.
        given: tokens at the start of each window that are not predicted.
        together: windows of a batch.

    Returns:
        the perplexity, exp of the mean negative log likelihood of the predicted tokens, infinite
        where it is no number; and the likeliest token at each of their places, (N, P) int64.
    """
    total, choices_NP = 0.0, []
    for ids_BS in torch.split(windows_NS, together):
        logits_BPV = logits(ids_BS)[:, given - 1 : -1]
        for logits_PV, ids_S in zip(logits_BPV, ids_BS, strict=True):
            total += float(
                nn.functional.cross_entropy(logits_PV.float(), ids_S[given:], reduction="sum")
            )
            choices_NP.append(logits_PV.argmax(-1))
    mean = total / (windows_NS.shape[0] * (windows_NS.shape[1] - given))
    perplexity = math.exp(min(mean, LARGEST_LOG)) if math.isfinite(mean) else math.inf
    return perplexity, torch.stack(choices_NP).cpu()


def share_equal(one: Tensor, other: Tensor) -> float:
    """Share of places where two tensors of one shape hold the same."""
    return float((one == other).double().mean())


@torch.no_grad()
def continued(model: Any, prompts_NS: Tensor, tokens: int) -> Tensor:
    """Greedy continuations of so many tokens, (N, T) int64; the end of a text is never chosen.

    Args:
        model: a causal language model of transformers.
        prompts_NS: int64, all of one length.
    """
    from transformers import GenerationConfig

    config = GenerationConfig(
        do_sample=False,
        min_new_tokens=tokens,
        max_new_tokens=tokens,
        pad_token_id=0,
        eos_token_id=model.generation_config.eos_token_id,
    )
    written_NT: Tensor = model.generate(
        prompts_NS, attention_mask=torch.ones_like(prompts_NS), generation_config=config
    )
    return written_NT[:, prompts_NS.shape[1] :].cpu()


def agreed(dense_NT: Tensor, pruned_NT: Tensor) -> float:
    """Mean share of a continuation's tokens that stand before the first that differs."""
    return float((dense_NT == pruned_NT).double().cumprod(dim=1).mean())


def repeated(written_NT: Tensor, gram: int = GRAM) -> float:
    """Mean share of a continuation's n-grams that stood there before; 0: none is repeated."""
    grams_NGn = written_NT.unfold(1, gram, 1)
    distinct = [len(grams_Gn.unique(dim=0)) for grams_Gn in grams_NGn]
    return 1 - sum(distinct) / (grams_NGn.shape[0] * grams_NGn.shape[1])
