"""Perplexity of a model that is loaded a layer at a time (ALGORITHM section 9).

Windows do not overlap, every window stands alone, and its first token is not predicted: the
protocol of the paper and of LLM-Pruner. `slimgpt.texts.windows` says what a window begins with.
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
    windows: Tensor,  # (n, length) int64
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
    batches = stack.embed(windows)
    for index in range(stack.architecture.layers):
        stack.advance(index, stack.layer(index), batches)
        yield index + 1
    head, total, start = stack.head(), 0.0, 0
    step = max(1, LOGIT_TOKENS // windows.shape[1])
    for batch in batches:
        for hidden in torch.split(batch, step):
            ids = windows[start : start + len(hidden)].to(stack.device)
            start += len(hidden)
            logits = head(hidden.to(stack.device))[:, given - 1 : -1].float()
            losses = nn.functional.cross_entropy(
                logits.flatten(0, 1), ids[:, given:].flatten(), reduction="sum"
            )
            total += float(losses)
    mean = total / (windows.shape[0] * (windows.shape[1] - given))
    if not math.isfinite(mean):
        raise NumericalError(
            "the likelihood of the evaluation text is not finite",
            hint="the checkpoint overflows or holds NaN: try the model in bfloat16 or float32",
        )
    return math.exp(min(mean, LARGEST_LOG))
