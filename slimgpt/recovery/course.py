"""`Course`: what a recovery trains on and what it measures on, as batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from slimgpt.planning.forecast import BATCH_TOKENS
from slimgpt.texts.label_masking import IGNORED, Tokens
from slimgpt.texts.seeded_order import shuffled

TEXT, LESSONS = "text", "lessons"
MEASURED_TOKENS = 8192  # of each held-out set: a measurement costs about as much as two steps


@dataclass(frozen=True)
class Course:
    """Sequences to train on, in a seeded order, and held-out ones.

    Attributes:
        learned: sequences with labels.
        held_out: sequences by name: `text`, windows of the evaluation text; `lessons`, rows that
            are left out.
        pad: id that fills short sequences up.
        seed: of the order from the second pass on.
        longest: tokens of the longest sequence that there can be.
    """

    learned: Sequence[Tokens]
    held_out: dict[str, list[Tokens]]
    pad: int = 0
    seed: int = 0

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence that is learned."""
        return max(len(one.input_ids) for one in self.learned)

    def batch(self, step: int, size: int) -> list[int]:
        """Which sequences a step learns from; the first pass takes them as they come."""
        return [self._place(number) for number in range(step * size, (step + 1) * size)]

    def _place(self, number: int) -> int:
        count = len(self.learned)
        turn, place = divmod(number, count)
        return place if turn == 0 else self._turn(turn)[place]

    def _turn(self, turn: int) -> list[int]:
        return list(shuffled(len(self.learned), Random(f"{self.seed} {turn}")))

    def collate(self, batch: Sequence[Tokens]) -> dict[str, Tensor]:
        """A batch as tensors (batch, longest), filled up on the right."""
        longest = max(len(one.input_ids) for one in batch)
        shape = (len(batch), longest)
        ids, labels = torch.full(shape, self.pad), torch.full(shape, IGNORED)
        mask = torch.zeros(shape, dtype=torch.int64)
        for row, one in enumerate(batch):
            length = len(one.input_ids)
            ids[row, :length] = torch.tensor(one.input_ids)
            labels[row, :length] = torch.tensor(one.labels)
            mask[row, :length] = 1
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def in_seeded_order(sequences: Sequence[Tokens], seed: int) -> list[Tokens]:
    """The sequences shuffled: pieces of one document do not come in a row."""
    return [sequences[place] for place in shuffled(len(sequences), Random(seed))]


def first(sequences: Sequence[Tokens], tokens: int = MEASURED_TOKENS) -> list[Tokens]:
    """As many of the sequences, from the first on, as hold so many tokens; one at least."""
    taken: list[Tokens] = []
    for one in sequences:
        tokens -= len(one.input_ids)
        if taken and tokens < 0:
            break
        taken.append(one)
    return taken


def micro_batches(batch: Sequence[int], sequence_length: int) -> Iterator[Sequence[int]]:
    """A batch in pieces that are not too many tokens at once."""
    most = max(1, BATCH_TOKENS // sequence_length)
    for start in range(0, len(batch), most):
        yield batch[start : start + most]
