"""`Batches`: training sequences in a seeded order as batches, and held-out sequences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from slimgpt.planning.forecast import BATCH_TOKENS
from slimgpt.texts.label_masking import IGNORED, Tokens
from slimgpt.texts.seeded_order import shuffled

EVALUATION_TEXT, HELD_OUT_ROWS = "text", "lessons"  # as `events.Loss` names them
MEASURED_TOKENS = 8192  # per held-out set; one evaluation costs about as much as two steps


@dataclass(frozen=True)
class Batches:
    """Training and held-out sequences.

    Attributes:
        sequences: the training sequences in the order of the first epoch.
        held_out: held-out sequences by name: windows of the evaluation text, and rows of the
            training text.
        pad: id of the padding token.
        seed: of the order from the second epoch on.
    """

    sequences: Sequence[Tokens]
    held_out: dict[str, list[Tokens]]
    pad: int = 0
    seed: int = 0

    @property
    def longest(self) -> int:
        """Tokens of the longest training sequence."""
        return max(len(one.input_ids) for one in self.sequences)

    def batch(self, step: int, size: int) -> list[int]:
        """Indices of a step's sequences; the first epoch takes them in order."""
        return [self._index(number) for number in range(step * size, (step + 1) * size)]

    def _index(self, number: int) -> int:
        epoch, place = divmod(number, len(self.sequences))
        return place if epoch == 0 else self._order(epoch)[place]

    def _order(self, epoch: int) -> list[int]:
        return list(shuffled(len(self.sequences), Random(f"{self.seed} {epoch}")))

    def collate(self, batch: Sequence[Tokens]) -> dict[str, Tensor]:
        """A batch as tensors (batch, longest), padded on the right."""
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
    """The sequences, shuffled, so that parts of one document are not adjacent."""
    return [sequences[place] for place in shuffled(len(sequences), Random(seed))]


def first(sequences: Sequence[Tokens], tokens: int = MEASURED_TOKENS) -> list[Tokens]:
    """The leading sequences with at most `tokens` tokens in all; at least one sequence."""
    taken: list[Tokens] = []
    for one in sequences:
        tokens -= len(one.input_ids)
        if taken and tokens < 0:
            break
        taken.append(one)
    return taken


def micro_batches(batch: Sequence[int], sequence_length: int) -> Iterator[Sequence[int]]:
    """Split a batch into micro-batches of at most `BATCH_TOKENS` tokens."""
    most = max(1, BATCH_TOKENS // sequence_length)
    for start in range(0, len(batch), most):
        yield batch[start : start + most]
