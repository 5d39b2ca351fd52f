"""Verifies that a written folder has the model's tokenizer, chat templates included.

No loader reports a missing template file: `apply_chat_template` treats an unknown name as a
template and renders the name itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from slimgpt.errors import UnsupportedModelError, VerificationError
from slimgpt.texts.tokenization import sandbox


def prove(model: Path, written: Iterable[Path]) -> None:
    """Compare the tokenizers' results on samples (`slimgpt.texts.tokenization.samples`).

    Args:
        model: the folder of the model's tokenizer.
        written: folders that must have the same tokenizer.

    Raises:
        VerificationError: a written tokenizer differs or does not load.
        UnsupportedModelError: the model's tokenizer takes too much time or memory.
    """
    for folder in written:
        # Compare twice: a template may print the current date.
        if (apart := _apart(model, folder)) and (apart := _apart(model, folder)):
            raise VerificationError(
                f"the written tokenizer differs from the model's tokenizer in {apart}",
                hint="nothing was published; please report the model and the files in its folder",
            )


def _apart(model: Path, folder: Path) -> str:
    """The first difference between the two tokenizers; empty if there is none."""
    ours = _described(model)
    try:
        theirs = _described(folder)
    except UnsupportedModelError as error:
        raise VerificationError(
            f"the written tokenizer cannot be loaded: {error.message}", hint=error.hint
        ) from error
    return next((name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)), "")


def _described(folder: Path) -> Mapping[str, Any]:
    with sandbox.opened(folder) as tokenizer:
        return sandbox.describe(tokenizer)
