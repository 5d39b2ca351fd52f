"""From text to sequences of one length, and evaluation text to windows.

Evaluation, by the protocol of public papers: the whole text is tokenised at once, the ids are cut
into windows that do not overlap, the tail that fills no window is dropped. What papers leave to
chance is what a window begins with: they tokenise a text of Llama once, so that its first token,
`<s>`, stands before the first window alone. Other models compute nonsense without theirs. So every
sequence, of calibration too, begins with what the tokenizer itself puts before a text, unless `bos`
is `none`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slimgpt.errors import CalibrationError
from slimgpt.spec.names import Bos

Ids = NDArray[np.int32]


class Encoder(Protocol):
    """What is needed of a tokenizer; `slimgpt.texts.tokenizer.Tokenizer` is one."""

    @property
    def first_tokens(self) -> tuple[int, ...]:
        """What it puts before every text; empty where it puts nothing there."""

    @property
    def begins_with(self) -> str:
        """These, as they are written."""

    def encode(self, text: str) -> list[int]:
        """Token ids of one text, with the tokenizer's own special tokens."""

    def check_length(self, length: int) -> None:
        """Refuse sequences longer than the model's positions."""


@dataclass(frozen=True)
class Beginning:
    """What every sequence begins with.

    Attributes:
        ids: the tokens; none where sequences are cut from the text as they come.
        text: the same, as the tokenizer writes them.
    """

    ids: Ids
    text: str

    @classmethod
    def of(cls, tokenizer: Encoder, bos: Bos, length: int) -> Beginning:
        """What sequences of so many tokens begin with.

        Raises:
            CalibrationError: such a sequence would hold nothing else, or is longer than the model's
                positions.
        """
        tokenizer.check_length(length)
        added = bos == "tokenizer" and bool(tokenizer.first_tokens)
        ids = np.asarray(tokenizer.first_tokens if added else (), dtype=np.int32)
        made = cls(ids, tokenizer.begins_with if added else "")
        if length <= made.given:
            raise CalibrationError(
                f"a window of {length} tokens predicts nothing",
                hint=f"use windows of {made.given + 1} tokens or more",
            )
        return made

    @property
    def given(self) -> int:
        """How many tokens of a window are not predicted."""
        return max(1, len(self.ids))

    def __str__(self) -> str:
        return f"each begins with {self.text}" if self.text else "each as the text comes"


def end_to_end(pieces: Iterable[Ids], length: int, first: Ids) -> Iterator[Ids]:
    """The pieces joined and cut into sequences without gap or overlap; the last bit is dropped.

    Args:
        length: tokens in a sequence.
        first: what each begins with; the text's own at such a place is not repeated.
    """
    left, body = np.empty(0, dtype=np.int32), length - len(first)
    for piece in pieces:
        left, at = np.concatenate([left, piece]), 0
        while len(left) >= (at := _past(left, at, first)) + body:
            yield np.concatenate([first, left[at : at + body]])
            at += body
        left = left[at:]


def clear_start(joined: Ids, start: int, first: Ids) -> int:
    """The place itself, or the last one before it where the text has no first tokens of its own."""
    while start and len(first) and _stands(joined, start, first):
        start -= 1
    return start


def without_first(ids: Ids, first: Ids) -> Ids:
    """A text's ids without what the tokenizer put before it."""
    return ids[_past(ids, 0, first) :]


def _past(ids: Ids, at: int, first: Ids) -> int:
    while len(first) and _stands(ids, at, first):
        at += len(first)
    return at


def _stands(ids: Ids, at: int, first: Ids) -> bool:
    return bool(np.array_equal(ids[at : at + len(first)], first))


def windows(
    text: str,
    tokenizer: Encoder,
    length: int,
    max_tokens: int | None = None,
    name: str = "the text",
    bos: Bos = "tokenizer",
) -> Tensor:
    """Cut a text into windows: (n, length) int64, n ≥ 1.

    Args:
        text: the whole evaluation text.
        tokenizer: the model's own.
        length: tokens in a window, at least 2 (the first token of a window is not predicted).
        max_tokens: use only so many tokens of the text, from its start; None uses all.
        name: of the text, for people.
        bos: what each window begins with; `none`: as the text comes.

    Raises:
        CalibrationError: the text is shorter than one window, or the window longer than the
            model's positions.
    """
    first = Beginning.of(tokenizer, bos, length).ids
    ids = without_first(np.asarray(tokenizer.encode(text), dtype=np.int32), first)[:max_tokens]
    found = list(end_to_end([ids], length, first))
    if not found:
        raise CalibrationError(
            f"{name} has {len(ids):,} tokens, less than one window of {length}",
            hint="give a longer text, a shorter sequence length, or a larger max_tokens",
        )
    return stacked(found, length)


def stacked(sequences: Sequence[Ids], length: int) -> Tensor:
    """Sequences as one tensor, (n, length) int64."""
    if not sequences:
        return torch.empty((0, length), dtype=torch.int64)
    return torch.from_numpy(np.stack(sequences).astype(np.int64))


def protocol(text: str, length: int, max_tokens: int | None, begin: Beginning) -> str:
    """How `windows` measures, in a sentence for the report.

    Args:
        text: what the text is, for example `wikitext2`.
    """
    part = "the whole text" if max_tokens is None else f"its first {max_tokens:,} tokens"
    return (
        f"{text}: {part}, tokenised once with the tokenizer's special tokens, in windows of "
        f"{length} tokens that do not overlap, {begin}; the tail is dropped, the "
        "first token of each window is not predicted"
    )
