"""Calibration sequences: seeded, lazy, identical on every machine (ALGORITHM section 7).

1. Documents come in a seeded order and are tokenised one by one, only as many as are needed.
   Each has the special tokens that the tokenizer itself gives it, and nothing else.
2. Documents are joined until a sequence fits; the sequence is cut at a random offset, and what is
   left of them is put aside: every sequence has documents of its own. It begins with what the
   tokenizer puts before a text (`slimgpt.texts.tokenization.windows`), unless `bos` is `none`.
3. Where the text is too short for that, it is all joined and cut into sequences end to end, and
   the generator chooses among them. A single long document serves many sequences that way.
4. Held-out sequences come from what calibration did not touch: the documents after the last one
   used, cut end to end, then what was put aside. Asking for them never changes the calibration.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from random import Random

import numpy as np
from torch import Tensor

from slimgpt.errors import CalibrationError
from slimgpt.spec.names import Bos
from slimgpt.texts.documents import Documents
from slimgpt.texts.seeded_order import below, shuffled
from slimgpt.texts.tokenization.windows import (
    Beginning,
    Encoder,
    Ids,
    clear_start,
    end_to_end,
    stacked,
    without_first,
)


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
        begins_with: what each sequence begins with, as the tokenizer writes it; empty: nothing.
    """

    input_ids: Tensor
    held_out: Tensor
    sha256: str
    tokens_found: int
    documents_used: int
    source: str
    begins_with: str = ""


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
    bos: Bos = "tokenizer",
) -> Calibration:
    """Cut calibration sequences, and held-out ones, from documents.

    Args:
        documents: where the text comes from.
        tokenizer: the model's own.
        samples: number of calibration sequences.
        sequence_length: tokens in each, calibration and held-out.
        seed: of the order of the documents and of the offsets.
        held_out: number of sequences wanted from unused text; fewer where there is not so much.
        bos: what each sequence begins with; `none`: as the text comes.

    Raises:
        CalibrationError: the text is too short, or the sequences too long for the model.
    """
    begin = Beginning.of(tokenizer, bos, sequence_length)
    first = begin.ids
    generator = Random(seed)
    stream = _Stream(documents, tokenizer, generator)
    chosen, aside = _one_each(stream, samples, sequence_length, generator, first)
    tokens, used = stream.tokens, len(stream.seen)
    if len(chosen) == samples:
        pieces = (end_to_end([piece], sequence_length, first) for piece in aside)
        rest = chain(end_to_end(stream, sequence_length, first), *pieces)
    else:
        everything = list(end_to_end(stream.seen, sequence_length, first))
        if (fits := len(everything)) < samples:
            raise _too_little(documents, stream, samples, sequence_length, fits)
        order = shuffled(len(everything), Random(seed))
        chosen = [everything[index] for index in islice(order, samples)]
        rest = chain(everything[index] for index in order)
    input_ids = stacked(chosen, sequence_length)
    return Calibration(
        input_ids=input_ids,
        held_out=stacked(list(islice(rest, held_out)), sequence_length),
        sha256=digest(input_ids),
        tokens_found=tokens,
        documents_used=used,
        source=documents.description,
        begins_with=begin.text,
    )


def digest(ids: Tensor) -> str:
    """SHA-256 of token ids as little-endian int64, row by row; the same on every machine."""
    return hashlib.sha256(ids.numpy().astype("<i8").tobytes()).hexdigest()


def _one_each(
    stream: _Stream, samples: int, length: int, generator: Random, first: Ids
) -> tuple[list[Ids], list[Ids]]:
    """Sequences with documents of their own, as many as there are, and what was put aside."""
    chosen: list[Ids] = []
    aside: list[Ids] = []
    body = length - len(first)
    while len(chosen) < samples:
        parts: list[Ids] = []
        size = 0
        while size < body and (ids := next(stream, None)) is not None:
            parts.append(ids if parts else without_first(ids, first))
            size += len(parts[-1])
        if size < body:
            break
        joined = np.concatenate(parts)
        start = clear_start(joined, below(size - body + 1, generator), first)
        chosen.append(np.concatenate([first, joined[start : start + body]]))
        aside += [joined[:start], joined[start + body :]]
    return chosen, aside


def _too_little(
    documents: Documents[str], stream: _Stream, samples: int, length: int, fits: int
) -> CalibrationError:
    remedy = f"ask for at most {fits} samples, or " if fits else ""
    return CalibrationError(
        f"{documents.description}: found {stream.tokens:,} tokens in {len(stream.seen):,} "
        f"documents, but {samples} samples of {length} tokens ask for {samples * length:,}",
        hint=f"{remedy}give more text",
    )
