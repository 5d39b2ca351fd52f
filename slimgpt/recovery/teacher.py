"""`TeacherCache`: the teacher's distributions on the training text, computed once, on disk.

teacher-MARK/00000.safetensors   of 16 sequences: log-probabilities and ids of the top K tokens, and
                                 the remaining mass, for all label positions in order

The student trains from these files, so the two models are never in memory at the same time. A
resumed training, further epochs and the other models of a sweep read them again. A label takes
6 K + 4 bytes.

Names end in their shape: T tokens, K most probable tokens, D d_model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import torch

from slimgpt.checkpoints import safetensors_file
from slimgpt.machine import disk
from slimgpt.recovery import loss
from slimgpt.recovery.batches import Batches, micro_batches
from slimgpt.recovery.loss import TopK
from slimgpt.recovery.student import ForwardModel
from slimgpt.texts.label_masking import Tokens

SHARD = 16  # sequences
LOGS, IDS, REST = "logs", "ids", "rest"


class TeacherCache:
    """The teacher's top-K distributions for all training sequences.

    Args:
        folder: created if absent; its name identifies teacher, sequences, K and temperature.
        batches: the training sequences.
        count: K.
        temperature: softmax temperature.
    """

    def __init__(self, folder: Path, batches: Batches, count: int, temperature: float) -> None:
        self._folder, self._training = folder, batches
        self._count, self._temperature = count, temperature
        self._read = lru_cache(maxsize=16)(self._load)
        with disk.storage_errors(folder, 0):
            folder.mkdir(parents=True, exist_ok=True)

    def missing(self, sequences: int) -> list[int]:
        """Numbers of the shards of the first `sequences` sequences that are not on disk."""
        count = min(sequences, len(self._training.sequences))
        return [shard for shard in range(-(-count // SHARD)) if not self._file(shard).exists()]

    def bytes(self) -> int:
        """Size of the files."""
        return sum(file.stat().st_size for file in self._folder.glob("*.safetensors"))

    @torch.no_grad()
    def write(self, shard: int, teacher: ForwardModel, device: torch.device) -> None:
        """Run the teacher on a shard's sequences and write its distributions.

        Raises:
            StorageError: the disk is full.
        """
        found = [
            one
            for batch in self._batches(self._sequences(shard))
            for one in self._forward(teacher, batch, device)
        ]
        tensors = {
            LOGS: torch.cat([one.logs for one in found]).half().cpu(),
            IDS: torch.cat([one.ids for one in found]).int().cpu(),
            REST: torch.cat([one.rest for one in found]).float().cpu(),
        }
        safetensors_file.save(self._file(shard), tensors)

    def of(self, places: Sequence[int], device: torch.device) -> TopK:
        """The distributions for the labels of some sequences, concatenated."""
        found = [self._one(place) for place in places]
        return TopK(
            torch.cat([one.logs for one in found]).to(device).float(),
            torch.cat([one.ids for one in found]).to(device).long(),
            torch.cat([one.rest for one in found]).to(device),
        )

    def _one(self, place: int) -> TopK:
        shard, number = divmod(place, SHARD)
        lengths = [one.learned for one in self._sequences(shard)[: number + 1]]
        return self._read(shard)[slice(sum(lengths[:-1]), sum(lengths))]

    def _load(self, shard: int) -> TopK:
        stored = safetensors_file.load(self._file(shard))
        return TopK(stored[LOGS], stored[IDS], stored[REST])

    def _sequences(self, shard: int) -> Sequence[Tokens]:
        return self._training.sequences[shard * SHARD : (shard + 1) * SHARD]

    def _batches(self, sequences: Sequence[Tokens]) -> Iterator[Sequence[Tokens]]:
        for places in micro_batches(range(len(sequences)), self._training.longest):
            yield [sequences[place] for place in places]

    def _forward(
        self, teacher: ForwardModel, batch: Sequence[Tokens], device: torch.device
    ) -> Iterator[TopK]:
        tensors = {name: one.to(device) for name, one in self._training.collate(batch).items()}
        hidden_TD, _ = teacher.hidden(tensors)
        for piece_TD in torch.split(hidden_TD, loss.CHUNK):
            yield loss.top_k(teacher.logits(piece_TD), self._count, self._temperature)

    def _file(self, shard: int) -> Path:
        return self._folder / f"{shard:05d}.safetensors"
