"""`TeacherCache`: what the dense model says of the training text, computed once, on disk.

teacher-MARK/00000.safetensors   of 16 sequences: logarithms of the K largest probabilities, whose
                                 they are, and the rest; of all learned tokens in a row

A student learns from the files alone, so the two models are never in memory at the same time; a
resumed training, a further pass over the text and the other models of a sweep read them again.
A learned token takes 6 K + 4 bytes.

Names end in their shape: T tokens, K kept of the vocabulary, D d_model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import torch

from slimgpt.checkpoints import safetensors_file
from slimgpt.machine import disk
from slimgpt.recovery import loss
from slimgpt.recovery.course import Course, micro_batches
from slimgpt.recovery.loss import TopK
from slimgpt.recovery.student import Reader
from slimgpt.texts.label_masking import Tokens

SHARD = 16  # sequences
LOGS, IDS, REST = "logs", "ids", "rest"


class TeacherCache:
    """The teacher's most probable next tokens for the sequences of a course.

    Args:
        folder: made if absent; its name stands for teacher, sequences, K and temperature.
        course: its sequences, in their order.
        count: K.
        temperature: of the teacher's distribution.
    """

    def __init__(self, folder: Path, course: Course, count: int, temperature: float) -> None:
        self._folder, self._course = folder, course
        self._count, self._temperature = count, temperature
        self._read = lru_cache(maxsize=16)(self._load)
        with disk.storage_errors(folder, 0):
            folder.mkdir(parents=True, exist_ok=True)

    def missing(self, sequences: int) -> list[int]:
        """The shards that are not there yet of those that hold the first so many sequences."""
        count = min(sequences, len(self._course.learned))
        return [shard for shard in range(-(-count // SHARD)) if not self._file(shard).exists()]

    def bytes(self) -> int:
        """What the files take by now."""
        return sum(file.stat().st_size for file in self._folder.glob("*.safetensors"))

    @torch.no_grad()
    def write(self, shard: int, teacher: Reader, device: torch.device) -> None:
        """Ask the teacher about a shard's sequences and keep what it says.

        Raises:
            StorageError: the disk is full.
        """
        found = [
            one
            for batch in self._batches(self._sequences(shard))
            for one in self._ask(teacher, batch, device)
        ]
        tensors = {
            LOGS: torch.cat([one.logs for one in found]).half().cpu(),
            IDS: torch.cat([one.ids for one in found]).int().cpu(),
            REST: torch.cat([one.rest for one in found]).float().cpu(),
        }
        safetensors_file.save(self._file(shard), tensors)

    def of(self, places: Sequence[int], device: torch.device) -> TopK:
        """What the teacher says of the learned tokens of some sequences, one after the other."""
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
        return self._course.learned[shard * SHARD : (shard + 1) * SHARD]

    def _batches(self, sequences: Sequence[Tokens]) -> Iterator[Sequence[Tokens]]:
        for places in micro_batches(range(len(sequences)), self._course.longest):
            yield [sequences[place] for place in places]

    def _ask(
        self, teacher: Reader, batch: Sequence[Tokens], device: torch.device
    ) -> Iterator[TopK]:
        tensors = {name: one.to(device) for name, one in self._course.collate(batch).items()}
        hidden_TD, _ = teacher.hidden(tensors)
        for piece_TD in torch.split(hidden_TD, loss.CHUNK):
            yield loss.top_k(teacher.logits(piece_TD), self._count, self._temperature)

    def _file(self, shard: int) -> Path:
        return self._folder / f"{shard:05d}.safetensors"
