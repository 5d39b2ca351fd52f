"""Calibration sequences: seeded, lazy, identical on every machine (ALGORITHM section 7).

1. Documents come in a seeded order and are tokenised one by one, only as many as are needed.
   Each has the special tokens that the tokenizer itself gives it, and nothing else.
2. Documents are joined until a sequence fits; the sequence is cut at a random offset, and what is
   left of them is put aside: every sequence has documents of its own.
3. Where the text is too short for that, it is all joined and cut into sequences end to end, and
   the generator chooses among them. A single long document serves many sequences that way.
4. Held-out sequences come from what calibration did not touch: the documents after the last one
   used, cut end to end, then what was put aside. Asking for them never changes the calibration.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from random import Random
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slimgpt.errors import CalibrationError
from slimgpt.texts.documents import Documents
from slimgpt.texts.seeded_order import below, shuffled

Ids = NDArray[np.int32]


class Encoder(Protocol):
    """What is needed of a tokenizer; `slimgpt.texts.tokenizer.Tokenizer` is one."""

    def encode(self, text: str) -> list[int]:
        """Token ids of one text, with the tokenizer's own special tokens."""

    def check_length(self, length: int) -> None:
        """Refuse sequences longer than the model's positions."""


@dataclass(frozen=True)
class Calibration:
    """Sequences for calibration, and sequences that calibration never saw.

    Attributes:
        input_ids: (samples, sequence_length) int64.
        held_out: (at most the number asked for, sequence_length) int64.
        sha256: of `input_ids` as little-endian int64, row by row.
        tokens_found: tokens of the documents that were read for `input_ids`.
        documents_used: how many documents those were.
        source: what the documents are.
    """

    input_ids: Tensor
    held_out: Tensor
    sha256: str
    tokens_found: int
    documents_used: int
    source: str


class _Stream:
    """Token ids of documents in the seeded order, remembered for a second attempt."""

    def __init__(self, documents: Documents[str], encoder: Encoder, generator: Random) -> None:
        self.seen: list[Ids] = []
        self.tokens = 0
        self._documents = documents
        self._encoder = encoder
        self._order = shuffled(len(documents), generator)

    def __iter__(self) -> Iterator[Ids]:
        return self

    def __next__(self) -> Ids:
        for index in self._order:
            text = self._documents[index]
            if text.strip():
                ids = np.asarray(self._encoder.encode(text), dtype=np.int32)
                self.seen.append(ids)
                self.tokens += len(ids)
                return ids
        raise StopIteration


def sample(
    documents: Documents[str],
    tokenizer: Encoder,
    *,
    samples: int,
    sequence_length: int,
    seed: int,
    held_out: int = 0,
) -> Calibration:
    """Cut calibration sequences, and held-out ones, from documents.

    Args:
        documents: where the text comes from.
        tokenizer: the model's own.
        samples: number of calibration sequences.
        sequence_length: tokens in each, calibration and held-out.
        seed: of the order of the documents and of the offsets.
        held_out: number of sequences wanted from unused text; fewer where there is not so much.

    Raises:
        CalibrationError: the text is too short, or the sequences too long for the model.
    """
    tokenizer.check_length(sequence_length)
    generator = Random(seed)
    stream = _Stream(documents, tokenizer, generator)
    chosen, aside = _one_each(stream, samples, sequence_length, generator)
    tokens, used = stream.tokens, len(stream.seen)
    if len(chosen) == samples:
        rest = chain(
            _end_to_end(stream, sequence_length),
            *(_end_to_end([piece], sequence_length) for piece in aside),
        )
    else:
        if tokens < samples * sequence_length:
            raise _too_little(documents, tokens, used, samples, sequence_length)
        everything = list(_end_to_end(stream.seen, sequence_length))
        order = shuffled(len(everything), Random(seed))
        chosen = [everything[index] for index in islice(order, samples)]
        rest = chain(everything[index] for index in order)
    input_ids = _tensor(chosen, sequence_length)
    return Calibration(
        input_ids=input_ids,
        held_out=_tensor(list(islice(rest, held_out)), sequence_length),
        sha256=digest(input_ids),
        tokens_found=tokens,
        documents_used=used,
        source=documents.description,
    )


def digest(ids: Tensor) -> str:
    """SHA-256 of token ids as little-endian int64, row by row; the same on every machine."""
    return hashlib.sha256(ids.numpy().astype("<i8").tobytes()).hexdigest()


def _one_each(
    stream: _Stream, samples: int, length: int, generator: Random
) -> tuple[list[Ids], list[Ids]]:
    """Sequences with documents of their own, as many as there are, and what was put aside."""
    chosen: list[Ids] = []
    aside: list[Ids] = []
    while len(chosen) < samples:
        parts, size = [], 0
        while size < length and (ids := next(stream, None)) is not None:
            parts.append(ids)
            size += len(ids)
        if size < length:
            break
        joined = np.concatenate(parts)
        start = below(size - length + 1, generator)
        chosen.append(joined[start : start + length])
        aside += [joined[:start], joined[start + length :]]
    return chosen, aside


def _end_to_end(pieces: Iterable[Ids], length: int) -> Iterator[Ids]:
    """The pieces joined and cut into sequences without gap or overlap; the last bit is dropped."""
    left = np.empty(0, dtype=np.int32)
    for piece in pieces:
        left = np.concatenate([left, piece])
        whole = len(left) // length * length
        yield from left[:whole].reshape(-1, length)
        left = left[whole:]


def _tensor(sequences: list[Ids], length: int) -> Tensor:
    if not sequences:
        return torch.empty((0, length), dtype=torch.int64)
    return torch.from_numpy(np.stack(sequences).astype(np.int64))


def _too_little(
    documents: Documents[str], tokens: int, used: int, samples: int, length: int
) -> CalibrationError:
    fits = tokens // length
    remedy = f"ask for at most {fits} samples, or " if fits else ""
    return CalibrationError(
        f"{documents.description}: found {tokens:,} tokens in {used:,} documents, but {samples} "
        f"samples of {length} tokens ask for {samples * length:,}",
        hint=f"{remedy}give more text",
    )
