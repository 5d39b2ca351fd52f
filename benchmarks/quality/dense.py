"""The dense model: what all others are measured against; measured once and kept in the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, logging

from benchmarks.quality import measures
from benchmarks.quality.subjects import CACHE, Subject
from benchmarks.quality.texts import CONTINUATION, HeldOut

ELEMENTS = 2**26  # of a batch's logits


@dataclass(frozen=True)
class Dense:
    """What the dense model makes of the held-out text.

    Attributes:
        parameters: tied tensors counted once.
        perplexity: of each text.
        choices: its likeliest tokens at the predicted places of each text, (40, P) int64.
        written: its greedy continuations of the prompts, (40, 64) int64.
    """

    parameters: int
    perplexity: Mapping[str, float]
    choices: Mapping[str, Tensor]
    written: Tensor


def load(folder: Path, device: torch.device) -> Any:
    """The dense model with the stock classes, in the dtype of its checkpoint."""
    logging.disable_progress_bar()  # rows are the progress here
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", local_files_only=True)
    return model.to(device).eval()


def parameters(model: torch.nn.Module) -> int:
    """How many numbers a model holds, tied tensors counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


def of(subject: Subject, held_out: HeldOut, device: torch.device, cache: Path = CACHE) -> Dense:
    """The dense model's measures, from the cache where they are there."""
    weights = "".join(
        f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns} "
        for file in sorted(subject.folder.glob("*.safetensors"))
    )
    mark = f"{weights}{held_out.sha256} {device.type} {torch.__version__}"
    file = cache / f"{subject.model}-{hashlib.sha256(mark.encode()).hexdigest()[:16]}.pt"
    if file.is_file():
        return Dense(**torch.load(file, weights_only=True))
    found = _measured(load(subject.folder, device), held_out, device)
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_suffix(".partial")
    torch.save(vars(found), aside)
    aside.rename(file)
    return found


def _measured(model: Any, held_out: HeldOut, device: torch.device) -> Dense:
    perplexity, choices = {}, {}
    for name, windows in held_out.windows.items():
        perplexity[name], choices[name] = likelihood(model, windows.to(device), held_out.given)
    written = measures.continued(model, held_out.prompts.to(device), CONTINUATION)
    return Dense(parameters(model), perplexity, choices, written)


def likelihood(model: Any, windows_NS: Tensor, given: int) -> tuple[float, Tensor]:
    """`measures.likelihood` of a model of transformers, on its device."""

    def logits(ids_BS: Tensor) -> Tensor:
        found_BSV: Tensor = model(input_ids=ids_BS, use_cache=False).logits
        return found_BSV

    together = max(1, ELEMENTS // (windows_NS.shape[1] * model.config.vocab_size))
    return measures.likelihood(logits, windows_NS, given, together)
