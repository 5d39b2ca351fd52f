"""Likelihood of text windows and perplexity, with one layer in memory at a time.

Windows do not overlap, each is evaluated without the text before it, and its first token is not
predicted: the protocol of the paper and of LLM-Pruner. Which token a window begins with is decided
in `slimgpt.texts.tokenization.windows`.

Names end in their shape: N windows, S tokens of a window, B windows of a batch, D d_model, V
vocabulary, T predicted tokens of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from slimgpt.errors import NumericalError
from slimgpt.layers.stack import Stack
from slimgpt.planning.forecast import LOGIT_TOKENS

LARGEST_LOG = 700.0  # e^700 is finite in double precision


@dataclass(frozen=True)
class Likelihood:
    """Likelihood of the windows of a text under a model.

    Attributes:
        losses: negative log-likelihood of each window, nats, summed over its predicted tokens.
        predicted: number of predicted tokens of each window.
    """

    losses: tuple[float, ...]
    predicted: int

    @property
    def perplexity(self) -> float:
        """exp(mean negative log-likelihood) over all predicted tokens, at most e^700."""
        mean = math.fsum(self.losses) / (len(self.losses) * self.predicted)
        return math.exp(min(mean, LARGEST_LOG))


@torch.no_grad()
def measure(
    stack: Stack,
    windows_NS: Tensor,  # int64
    given: int = 1,
) -> Generator[int, None, Likelihood]:
    """Measure the likelihood of windows; each rank measures its share.

    Args:
        given: number of tokens at the start of each window that are not predicted.

    Yields:
        the number of finished layers.

    Returns:
        the likelihood of every window.

    Raises:
        NumericalError: a likelihood is not finite.
    """
    own_NS = stack.share(windows_NS)
    batches = stack.embed(own_NS)
    for index in range(stack.architecture.layers):
        stack.advance(index, stack.layer(index).forward, batches)
        yield index + 1
    head, sums, start = stack.head(), list[Tensor](), 0
    step = max(1, LOGIT_TOKENS // windows_NS.shape[1])
    for _, batch_BSD in stack.transfers.each(batches):
        for hidden_BSD in torch.split(batch_BSD, step):
            ids_BS = own_NS[start : start + len(hidden_BSD)].to(stack.device)
            start += len(hidden_BSD)
            logits_BSV = head(hidden_BSD)[:, given - 1 : -1].float()
            losses_T = nn.functional.cross_entropy(
                logits_BSV.flatten(0, 1), ids_BS[:, given:].flatten(), reduction="none"
            )
            sums.append(losses_T.view(len(ids_BS), -1).double().sum(1))
    losses = stack.ranks.gather(torch.cat(sums).tolist() if sums else [])
    if not all(map(math.isfinite, losses)):
        raise NumericalError(
            "the likelihood of the evaluation text is not finite",
            hint="the checkpoint overflows or holds NaN: try the model in bfloat16 or float32",
        )
    return Likelihood(tuple(losses), windows_NS.shape[1] - given)
