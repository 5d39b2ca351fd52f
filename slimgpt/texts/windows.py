"""Evaluation windows: non-overlapping, by the protocol of SparseGPT, LLM-Pruner and SlimGPT.

The whole text is tokenised at once, with the special tokens that the tokenizer gives it; the ids
are cut into windows that do not overlap; the tail that fills no window is dropped. SparseGPT,
LLM-Pruner and SlimGPT measure WikiText-2 this way.
"""

from __future__ import annotations

import torch
from torch import Tensor

from slimgpt.errors import CalibrationError
from slimgpt.texts.calibration import Encoder


def windows(
    text: str,
    tokenizer: Encoder,
    length: int,
    max_tokens: int | None = None,
    name: str = "the text",
) -> Tensor:
    """Cut a text into windows: (n, length) int64, n ≥ 1.

    Args:
        text: the whole evaluation text.
        tokenizer: the model's own.
        length: tokens in a window, at least 2 (the first token of a window is not predicted).
        max_tokens: use only so many tokens from the start; None uses all.
        name: of the text, for people.

    Raises:
        CalibrationError: the text is shorter than one window, or the window longer than the
            model's positions.
    """
    tokenizer.check_length(length)
    if length < 2:
        raise CalibrationError(
            f"a window of {length} tokens predicts nothing", hint="use windows of 2 tokens or more"
        )
    ids = tokenizer.encode(text)[:max_tokens]
    count = len(ids) // length
    if count == 0:
        raise CalibrationError(
            f"{name} has {len(ids):,} tokens, less than one window of {length}",
            hint="give a longer text, a shorter sequence length, or a larger max_tokens",
        )
    return torch.tensor(ids[: count * length], dtype=torch.int64).view(count, length)


def protocol(text: str, length: int, max_tokens: int | None = None) -> str:
    """How `windows` measures, in a sentence for the report.

    Args:
        text: what the text is, for example `wikitext2`.
    """
    part = "the whole text" if max_tokens is None else f"its first {max_tokens:,} tokens"
    return (
        f"{text}: {part}, tokenised once with the tokenizer's special tokens, in windows of "
        f"{length} tokens that do not overlap; the tail is dropped, the first token of each "
        "window is not predicted"
    )
