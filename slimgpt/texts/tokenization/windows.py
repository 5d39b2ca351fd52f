"""Calibration sequences and evaluation windows of a fixed length, and their first tokens.

Evaluation follows public papers: the whole text is tokenised once and cut into windows that do not
overlap; an incomplete last window is dropped. Papers prepend `<s>` only to the first window,
because they tokenise the text once. Some models need it in every window. So every sequence, for
calibration too, begins with the tokens that the tokenizer prepends, unless `bos` is `none`.
"""

from __future__ import annotations

import hashlib
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
    """The required interface of a tokenizer, see `slimgpt.texts.tokenization.tokenizer`."""

    @property
    def first_tokens(self) -> tuple[int, ...]:
        """Token ids that it prepends to every text; empty if none."""

    @property
    def begins_with(self) -> str:
        """The prepended tokens as text."""

    def encode(self, text: str) -> list[int]:
        """Token ids of one text, with the tokenizer's own special tokens."""

    def check_length(self, length: int) -> None:
        """Refuse sequences longer than the model's positions."""


@dataclass(frozen=True)
class Beginning:
    """The tokens prepended to every sequence.

    Attributes:
        ids: token ids; empty if nothing is prepended.
        text: the tokens as text.
    """

    ids: Ids
    text: str

    @classmethod
    def of(cls, tokenizer: Encoder, bos: Bos, length: int) -> Beginning:
        """The tokens prepended to sequences of `length` tokens.

        Raises:
            CalibrationError: a sequence would contain no other tokens, or is longer than the
                model's positions.
        """
        tokenizer.check_length(length)
        added = bos == "tokenizer" and bool(tokenizer.first_tokens)
        ids = np.asarray(tokenizer.first_tokens if added else (), dtype=np.int32)
        made = cls(ids, tokenizer.begins_with if added else "")
        if length <= made.given:
            raise CalibrationError(
                f"a window of {length} tokens has no token to predict",
                hint=f"use windows of {made.given + 1} tokens or more",
            )
        return made

    @property
    def given(self) -> int:
        """Number of tokens of a window that are not predicted."""
        return max(1, len(self.ids))

    def __str__(self) -> str:
        return f"each begins with {self.text}" if self.text else "without prepended tokens"


def end_to_end(pieces: Iterable[Ids], length: int, first: Ids) -> Iterator[Ids]:
    """The pieces joined and cut into consecutive sequences; an incomplete last one is dropped.

    Args:
        length: tokens in a sequence.
        first: tokens prepended to each; if the text has them at that place, they are not repeated.
    """
    left, body = np.empty(0, dtype=np.int32), length - len(first)
    for piece in pieces:
        left, at = np.concatenate([left, piece]), 0
        while len(left) >= (at := _past(left, at, first)) + body:
            yield np.concatenate([first, left[at : at + body]])
            at += body
        left = left[at:]


def clear_start(joined: Ids, start: int, first: Ids) -> int:
    """`start`, or the last position before it at which the text does not have the first tokens."""
    while start and len(first) and _stands(joined, start, first):
        start -= 1
    return start


def without_first(ids: Ids, first: Ids) -> Ids:
    """A text's ids without the prepended tokens."""
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
        tokenizer: the model's tokenizer.
        length: tokens in a window, at least 2 (the first token of a window is not predicted).
        max_tokens: number of tokens to use, from the start of the text; None uses all.
        name: name of the text for error messages.
        bos: whether tokens are prepended to each window; `none`: no.

    Raises:
        CalibrationError: the text is shorter than one window, or the window longer than the
            model's positions.
    """
    first = Beginning.of(tokenizer, bos, length).ids
    ids = without_first(np.asarray(tokenizer.encode(text), dtype=np.int32), first)[:max_tokens]
    found = list(end_to_end([ids], length, first))
    if not found:
        raise CalibrationError(
            f"{name} has {len(ids):,} tokens, fewer than one window of {length}",
            hint="use a longer text, a shorter sequence length, or a larger max_tokens",
        )
    return stacked(found, length)


def digest(windows_NS: Tensor, given: int) -> str:
    """SHA-256 of what is measured on windows: their token ids, and those that are not predicted.

    Args:
        windows_NS: (n, length) int64.
        given: tokens at the start of each window that are not predicted.
    """
    said = hashlib.sha256(f"{windows_NS.shape[1]} {given}\n".encode())
    said.update(windows_NS.numpy().astype("<i8").tobytes())
    return said.hexdigest()


def stacked(sequences: Sequence[Ids], length: int) -> Tensor:
    """Sequences as one tensor, (n, length) int64."""
    if not sequences:
        return torch.empty((0, length), dtype=torch.int64)
    return torch.from_numpy(np.stack(sequences).astype(np.int64))


def protocol(text: str, length: int, max_tokens: int | None, begin: Beginning) -> str:
    """The measurement protocol of `windows`, in a sentence for the report.

    Args:
        text: name of the text, for example `wikitext2`.
    """
    part = "the whole text" if max_tokens is None else f"its first {max_tokens:,} tokens"
    return (
        f"{text}: {part}, tokenised once with the tokenizer's special tokens, in windows of "
        f"{length} tokens that do not overlap, {begin}; an incomplete last window is dropped, "
        "the first token of each window is not predicted"
    )
