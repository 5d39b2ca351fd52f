"""Losses of a language model, a chunk of tokens at a time.

With a vocabulary of 49k tokens, float32 logits of 512 tokens take 100 MB, so those of a whole batch
are never in memory. A chunk's logits are freed after its loss and the gradient with respect to the
hidden states; the output head is frozen, so its gradient is not needed.

Names end in their shape: T tokens, D d_model, V vocabulary, K most probable tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

CHUNK = 512  # tokens
Head = Callable[[Tensor], Tensor]
"""Final norm and output head: hidden (T, D) → logits (T, V)."""
ChunkLoss = Callable[[Tensor, slice], Tensor]
"""Arguments: the logits of a chunk and its slice of all tokens; returns the sum of the losses."""


@dataclass(frozen=True)
class TopK:
    """The teacher's next-token distribution at T positions: top K tokens, and the remaining mass.

    Attributes:
        logs: log-probabilities of the K most probable tokens, (T, K).
        ids: their token ids, (T, K), int64.
        rest: log-probability of all other tokens together, (T,); −∞ if there are none.
    """

    logs: Tensor
    ids: Tensor
    rest: Tensor

    def __getitem__(self, which: slice) -> TopK:
        return TopK(self.logs[which], self.ids[which], self.rest[which])


def top_k(logits_TV: Tensor, count: int, temperature: float = 1.0) -> TopK:
    """The top-K distribution of a teacher's logits.

    Args:
        count: K, limited to the vocabulary size.
        temperature: softmax temperature (Hinton et al., 2015).
    """
    logs_TV = (logits_TV.float() / temperature).log_softmax(-1)
    logs_TK, ids_TK = logs_TV.topk(min(count, logs_TV.shape[-1]), dim=-1)
    # Not 1 − Σ, which rounds to 0 where the teacher is confident.
    rest_T = logs_TV.scatter(-1, ids_TK, -torch.inf).logsumexp(-1)
    return TopK(logs_TK, ids_TK, rest_T)


def divergence(logits_TV: Tensor, teacher: TopK, temperature: float = 1.0) -> Tensor:
    """Σ KL(teacher ‖ student) over the tokens, times temperature².

    Tokens outside the top K count as one event: a lower bound of the full divergence, and equal to
    it for K = V.

    Args:
        logits_TV: the student's.
        temperature: of both distributions.
    """
    scaled_TV = logits_TV.float() / temperature
    logs_TK, ids_TK = teacher.logs.float(), teacher.ids
    total_T = scaled_TV.logsumexp(-1)
    student_TK = scaled_TV.gather(-1, ids_TK) - total_T[:, None]
    summed = (logs_TK.exp() * (logs_TK - student_TK)).sum()
    if ids_TK.shape[-1] < scaled_TV.shape[-1]:
        rest_T = teacher.rest.float()
        student_rest_T = scaled_TV.scatter(-1, ids_TK, -torch.inf).logsumexp(-1) - total_T
        summed = summed + (rest_T.exp() * (rest_T - student_rest_T)).sum()
    return summed * temperature**2


def cross_entropy(logits_TV: Tensor, labels_T: Tensor) -> Tensor:
    """−Σ log p(label) over the tokens, in nats."""
    return nn.functional.cross_entropy(logits_TV.float(), labels_T, reduction="sum")


def over_chunks(hidden_TD: Tensor, head: Head, loss: ChunkLoss, chunk: int = CHUNK) -> Tensor:
    """The sum of a loss over all tokens, differentiable with respect to the hidden states.

    Args:
        hidden_TD: hidden states before the final norm.
        head: frozen output head.
        chunk: number of tokens whose logits are in memory at once.
    """
    summed: Tensor = _OverChunks.apply(  # type: ignore[no-untyped-call]
        hidden_TD, head, loss, chunk
    )
    return summed


class _OverChunks(torch.autograd.Function):
    """Computes the gradient in the forward pass, while a chunk's logits are in memory."""

    @staticmethod
    def forward(ctx: Any, hidden_TD: Tensor, head: Head, loss: ChunkLoss, chunk: int) -> Tensor:
        learns = ctx.needs_input_grad[0]
        summed = torch.zeros((), dtype=torch.float32, device=hidden_TD.device)
        gradient_TD = torch.zeros_like(hidden_TD) if learns else None
        for start in range(0, len(hidden_TD), chunk):
            which = slice(start, start + chunk)
            with torch.set_grad_enabled(learns):
                piece_TD = hidden_TD[which].detach().requires_grad_(learns)
                piece = loss(head(piece_TD), which)
            summed += piece.detach()
            if gradient_TD is not None:
                (gradient_TD[which],) = torch.autograd.grad(piece, piece_TD)
        ctx.save_for_backward(gradient_TD)
        return summed

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        (gradient_TD,) = ctx.saved_tensors
        return gradient_TD * outer, None, None, None
