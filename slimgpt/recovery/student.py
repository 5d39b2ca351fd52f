"""`Student`: the pruned model in training: trainable weights, and losses on a batch.

Names end in their shape: B batch, S sequence, T predicted tokens, D d_model, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

from slimgpt.checkpoints.families.family import Family
from slimgpt.recovery import loss
from slimgpt.recovery.loss import TopK
from slimgpt.texts.label_masking import IGNORED

Batch = dict[str, Tensor]
"""`input_ids`, `attention_mask` and `labels`, (B, S)."""
Head = Callable[[Tensor], Tensor]
"""Final norm and output head: hidden (B, S, D) → logits (B, S, V)."""
Products = Callable[[], AbstractContextManager[Any]]


class ForwardModel:
    """A model whose logits and losses are computed in chunks of tokens.

    Args:
        model: from `whole_model.load`.
        head: the checkpoint's frozen output head.
        products: context manager that sets the precision of matrix products.
    """

    def __init__(
        self,
        model: Any,
        family: Family,
        head: Head,
        products: Products,
    ) -> None:
        self.model, self.family = model, family
        self._body = model.get_submodule(family.body)
        self._norm = model.get_submodule(family.final_norm)
        self._head, self._products = head, products

    def hidden(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Hidden states before the final norm at the positions that predict a label.

        Returns:
            hidden states (T, D) and labels (T,).
        """
        with self._products(), self._caught() as streams:
            self._body(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                use_cache=False,
            )
        labels_BS = batch["labels"][:, 1:]
        predicting_BS = labels_BS != IGNORED
        return streams[0][:, :-1][predicting_BS], labels_BS[predicting_BS]

    def logits(self, hidden_TD: Tensor) -> Tensor:
        """Logits (T, V); the head treats every token as a sequence of length 1."""
        with self._products():
            return self._head(hidden_TD[:, None])[:, 0]

    def loss(self, batch: Batch, teacher: TopK | None, temperature: float = 1.0) -> Tensor:
        """The loss, summed over the batch's labels.

        Args:
            teacher: distributions for the labels' positions, in order; None for cross-entropy.
        """
        hidden_TD, labels_T = self.hidden(batch)

        def of(logits_TV: Tensor, which: slice) -> Tensor:
            if teacher is None:
                return loss.cross_entropy(logits_TV, labels_T[which])
            return loss.divergence(logits_TV, teacher[which], temperature)

        return loss.over_chunks(hidden_TD, self.logits, of)

    @contextmanager
    def _caught(self) -> Iterator[list[Tensor]]:
        """Capture the input of the final norm."""
        streams: list[Tensor] = []
        handle = self._norm.register_forward_pre_hook(lambda _, given: streams.append(given[0]))
        try:
            yield streams
        finally:
            handle.remove()


class Student(ForwardModel):
    """A model with trainable weights.

    Args:
        learning: the same model, wrapped by PEFT if adapters are trained.
    """

    def __init__(
        self, model: Any, family: Family, head: Head, products: Products, learning: Any
    ) -> None:
        super().__init__(model, family, head, products)
        self.learning = learning

    def weights(self) -> dict[str, torch.nn.Parameter]:
        """The trainable weights by name, float32."""
        named = self.learning.named_parameters()
        return {name: weight for name, weight in named if weight.requires_grad}
