"""A language model of one matrix, as a recovery sees its models."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from slimgpt.checkpoints.families.family import Family
from slimgpt.recovery.batches import HELD_OUT_ROWS, Batches
from slimgpt.recovery.student import Student
from slimgpt.texts.label_masking import Tokens

WORDS, WIDTH = 12, 8
FAMILY = Family("toy", "Toy")


class Body(nn.Module):
    """Embedding, one matrix, final norm."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH).requires_grad_(False)
        self.layers = nn.ModuleList([nn.Linear(WIDTH, WIDTH)])
        self.norm = nn.Identity()

    def forward(self, input_ids: Tensor, attention_mask: Tensor, use_cache: bool) -> Tensor:
        hidden: Tensor = self.embed(input_ids)
        for layer in self.layers:
            hidden = layer(nn.functional.dropout(hidden, 0.1, self.training))
        found: Tensor = self.norm(hidden)
        return found


class Model(nn.Module):
    """The body under the family's name."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Body()


def student(seed: int = 0) -> Student:
    """One that has learned nothing; the same for the same seed."""
    torch.manual_seed(seed)
    model, table = Model(), torch.randn(WORDS, WIDTH)
    return Student(model, FAMILY, lambda hidden: hidden @ table.T, nullcontext, model)


def batches(count: int = 40) -> Batches:
    """Words that count upwards, from any; some of them held out."""
    sequences = [counting(start, 5 + start % 4) for start in range(count + 6)]
    return Batches(sequences[:-6], {HELD_OUT_ROWS: sequences[-6:]}, seed=1)


def counting(start: int, length: int) -> Tokens:
    """One sequence."""
    ids = [(start + n) % WORDS for n in range(length)]
    return Tokens(ids, list(ids))
