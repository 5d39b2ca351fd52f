"""Losses of a language model, a chunk of tokens at a time.

A vocabulary of 49k words makes 100 MB of float32 logits of 512 tokens: those of a whole batch are
never held. Each chunk's logits live as long as their loss and its gradient by the hidden states;
the output head itself does not learn, so nothing else of them is needed.

Names end in their shape: T tokens, D d_model, V vocabulary, K kept of it.
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
"""Of the logits of some tokens, and which of all tokens they are: the sum over them."""


@dataclass(frozen=True)
class TopK:
    """What is known of a teacher's distribution over the next token, for each of T tokens.

    Attributes:
        logs: natural logarithms of the K largest probabilities, (T, K).
        ids: whose they are, (T, K), int64.
        rest: logarithm of the probability of all others, (T,); −∞ where there are none.
    """

    logs: Tensor
    ids: Tensor
    rest: Tensor

    def __getitem__(self, which: slice) -> TopK:
        return TopK(self.logs[which], self.ids[which], self.rest[which])


def top_k(logits_TV: Tensor, count: int, temperature: float = 1.0) -> TopK:
    """The most probable tokens of a teacher, and the rest in one.

    Args:
        count: K; the vocabulary's size at most is kept.
        temperature: T of Hinton et al. (2015), which softens the distribution.
    """
    logs_TV = (logits_TV.float() / temperature).log_softmax(-1)
    logs_TK, ids_TK = logs_TV.topk(min(count, logs_TV.shape[-1]), dim=-1)
    # Not 1 − Σ, of which rounding leaves nothing where the teacher is sure.
    rest_T = logs_TV.scatter(-1, ids_TK, -torch.inf).logsumexp(-1)
    return TopK(logs_TK, ids_TK, rest_T)


def divergence(logits_TV: Tensor, teacher: TopK, temperature: float = 1.0) -> Tensor:
    """Σ KL(teacher ‖ student) over the tokens, times T²; all that is not among the K is one event.

    Never more than the whole divergence, and equal to it for K = V.

    Args:
        logits_TV: of the student.
        temperature: T, of both distributions.
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
    """The sum of a loss over all tokens, and its gradient by the hidden states.

    Args:
        hidden_TD: before the final norm.
        head: none of its weights learns.
        chunk: tokens whose logits are held at once.
    """
    summed: Tensor = _OverChunks.apply(  # type: ignore[no-untyped-call]
        hidden_TD, head, loss, chunk
    )
    return summed


class _OverChunks(torch.autograd.Function):
    """Takes the gradient on the way forward, while a chunk's logits are there."""

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
