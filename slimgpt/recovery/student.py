"""`Student`: the pruned model as it learns: what of it does, and its losses on a batch.

Names end in their shape: B batch, S sequence, T tokens that are predicted, D d_model.
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


class Reader:
    """A whole model that stops short of its logits.

    Args:
        model: as `whole_model.load` gives it.
        head: the checkpoint's, none of whose weights learns.
        products: the context in which matrices are multiplied.
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
        """Hidden states before the final norm where a learned token is predicted, and that token.

        Returns:
            (T, D), and labels (T,).
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
        """Logits (T, V): every token is a sequence of its own, which the head does not mind."""
        with self._products():
            return self._head(hidden_TD[:, None])[:, 0]

    def loss(self, batch: Batch, teacher: TopK | None, temperature: float = 1.0) -> Tensor:
        """Summed over the batch's learned tokens.

        Args:
            teacher: what it says of these tokens, in their order; None: the labels are right.
        """
        hidden_TD, labels_T = self.hidden(batch)

        def of(logits_TV: Tensor, which: slice) -> Tensor:
            if teacher is None:
                return loss.cross_entropy(logits_TV, labels_T[which])
            return loss.divergence(logits_TV, teacher[which], temperature)

        return loss.over_chunks(hidden_TD, self.logits, of)

    @contextmanager
    def _caught(self) -> Iterator[list[Tensor]]:
        """What the final norm is given."""
        streams: list[Tensor] = []
        handle = self._norm.register_forward_pre_hook(lambda _, given: streams.append(given[0]))
        try:
            yield streams
        finally:
            handle.remove()


class Student(Reader):
    """A reader of which some weights learn.

    Args:
        learning: the model again, with adapters around it where adapters learn.
    """

    def __init__(
        self, model: Any, family: Family, head: Head, products: Products, learning: Any
    ) -> None:
        super().__init__(model, family, head, products)
        self.learning = learning

    def weights(self) -> dict[str, torch.nn.Parameter]:
        """Those that learn, by name; float32."""
        named = self.learning.named_parameters()
        return {name: weight for name, weight in named if weight.requires_grad}
