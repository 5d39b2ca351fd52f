"""Perplexity with one layer in memory at a time.

Windows do not overlap, every window stands alone, and its first token is not predicted: the
protocol of the paper and of LLM-Pruner. What a window begins with:
`slimgpt.texts.tokenization.windows`.

Names end in their shape: N windows, S tokens of a window, B windows of a batch, D d_model, V
vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Generator

import torch
from torch import Tensor, nn

from slimgpt.errors import NumericalError
from slimgpt.layers.stack import Stack
from slimgpt.planning.forecast import LOGIT_TOKENS

LARGEST_LOG = 700.0  # e^700 still is a number


@torch.no_grad()
def measure(
    stack: Stack,
    windows_NS: Tensor,  # int64
    given: int = 1,
) -> Generator[int, None, float]:
    """Perplexity exp(mean negative log likelihood) over all predicted tokens.

    Args:
        given: tokens at the start of each window that are not predicted.

    Yields:
        how many layers are done.

    Returns:
        the perplexity, e^700 at most.

    Raises:
        NumericalError: the likelihood is not finite.
    """
    batches = stack.embed(windows_NS)
    for index in range(stack.architecture.layers):
        stack.advance(index, stack.layer(index).forward, batches)
        yield index + 1
    head, total, start = stack.head(), 0.0, 0
    step = max(1, LOGIT_TOKENS // windows_NS.shape[1])
    for batch in batches:
        for hidden_BSD in torch.split(batch, step):
            ids_BS = windows_NS[start : start + len(hidden_BSD)].to(stack.device)
            start += len(hidden_BSD)
            logits_BSV = head(hidden_BSD.to(stack.device))[:, given - 1 : -1].float()
            losses = nn.functional.cross_entropy(
                logits_BSV.flatten(0, 1), ids_BS[:, given:].flatten(), reduction="sum"
            )
            total += float(losses)
    mean = total / (windows_NS.shape[0] * (windows_NS.shape[1] - given))
    if not math.isfinite(mean):
        raise NumericalError(
            "the likelihood of the evaluation text is not finite",
            hint="the checkpoint overflows or holds NaN: try the model in bfloat16 or float32",
        )
    return math.exp(min(mean, LARGEST_LOG))
