"""Calibration sequences: seeded, lazy, identical on every machine.

1. Documents are read in a seeded order and tokenised one by one, only as many as needed, with the
   tokenizer's own special tokens.
2. Documents are joined until a sequence fits; the sequence is cut at a random offset, and the
   remaining tokens are set aside, so that sequences share no documents. A sequence begins with the
   tokens that the tokenizer prepends (`slimgpt.texts.tokenization.windows`), unless `bos` is
   `none`.
3. If the text is too short for that, all of it is joined and cut into consecutive sequences, and
   the generator chooses among them. A single long document can fill many sequences this way.
4. Held-out sequences come from unused text: the documents after the last one used, cut into
   consecutive sequences, then the tokens set aside. They never change the calibration sequences.
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
    """Calibration sequences, and held-out sequences of other text.

    Attributes:
        input_ids: (samples, sequence_length) int64.
        held_out: (at most the requested number, sequence_length) int64.
        sha256: of `input_ids` as little-endian int64, row by row.
        tokens_found: tokens of the documents that were read for `input_ids`.
        documents_used: number of these documents.
        source: description of the documents.
        begins_with: the tokens prepended to every sequence, as text; empty if there are none.
    """

    input_ids: Tensor
    held_out: Tensor
    sha256: str
    tokens_found: int
    documents_used: int
    source: str
    begins_with: str = ""


class _Stream:
    """Token ids of documents in the seeded order; kept in `seen` for a second pass."""

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
        documents: the source text.
        tokenizer: the model's tokenizer.
        samples: number of calibration sequences.
        sequence_length: tokens in each calibration and held-out sequence.
        seed: of the order of documents and of the offsets.
        held_out: number of held-out sequences; fewer are returned if the text is too short.
        bos: whether tokens are prepended to each sequence; `none`: no.

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
    """Sequences that share no documents, and the tokens set aside."""
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
    remedy = f"set at most {fits} samples, or " if fits else ""
    return CalibrationError(
        f"{documents.description}: found {stream.tokens:,} tokens in {len(stream.seen):,} "
        f"documents, but {samples} samples of {length} tokens need {samples * length:,}",
        hint=f"{remedy}provide more text",
    )
