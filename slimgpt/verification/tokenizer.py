"""Proof that what was written has the model's own tokenizer, chat templates included.

Files that are left behind are not missed by any loader: `apply_chat_template` takes a name that it
does not know for a template, and renders the name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from slimgpt.errors import UnsupportedModelError, VerificationError
from slimgpt.texts.tokenization import sandbox


def prove(model: Path, written: Iterable[Path]) -> None:
    """Compare what the tokenizers make of samples (`slimgpt.texts.tokenization.samples`).

    Args:
        model: the folder that the tokenizer comes from.
        written: folders that shall have the same.

    Raises:
        VerificationError: one has another, or none that loads.
        UnsupportedModelError: the model's own takes too much time or memory.
    """
    for folder in written:
        # Again where they differ: a template may ask what day it is.
        if (apart := _apart(model, folder)) and (apart := _apart(model, folder)):
            raise VerificationError(
                f"the written tokenizer is not the model's: they differ in {apart}",
                hint="nothing was published; please report the model, and which files its folder "
                "holds",
            )


def _apart(model: Path, folder: Path) -> str:
    """What the two differ in; empty where they do not."""
    ours = _described(model)
    try:
        theirs = _described(folder)
    except UnsupportedModelError as error:
        raise VerificationError(
            f"the written tokenizer does not load: {error.message}", hint=error.hint
        ) from error
    return next((name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)), "")


def _described(folder: Path) -> Mapping[str, Any]:
    with sandbox.opened(folder) as tokenizer:
        return sandbox.describe(tokenizer)
