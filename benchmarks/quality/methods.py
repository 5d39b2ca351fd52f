"""The methods that are compared: those of the product, through its pipeline, and its peers.

A further method is a further line of `METHODS`: `through_pipeline` takes fields of `PruneSpec`,
`in_memory` a function of `benchmarks.quality.peers`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.quality import dense, texts
from benchmarks.quality.peers import llm_pruner, olica, shortgpt, slicegpt
from benchmarks.quality.subjects import Subject
from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.output import whole_model
from slimgpt.events import Event, Stage, StageFinished
from slimgpt.machine import memory
from slimgpt.spec.prune import EvaluationSpec
from slimgpt.texts.tokenization.tokenizer import no_layers_are_built

PRUNING: tuple[Stage, ...] = ("plan", "prune")
"""The stages that the product's methods are timed by: FLAP scores in the first."""


@dataclass(frozen=True)
class Case:
    """One cell of the table.

    Attributes:
        ratio: share of all parameters to remove.
        samples: calibration windows.
        seed: of their choice.
        dense_parameters: of the model to prune.
    """

    subject: Subject
    ratio: float
    samples: int
    seed: int
    dense_parameters: int
    device: torch.device

    @property
    def target(self) -> int:
        """Parameters that shall be left."""
        return round((1 - self.ratio) * self.dense_parameters)


@dataclass(frozen=True)
class Pruned:
    """What a method made.

    Attributes:
        model: a causal language model of transformers, in evaluation mode.
        parameters: all that it holds, tied tensors counted once.
        seconds: that the pruning took.
        peak_bytes: the most that the process, or the GPU, held until it was done.
        note: what a reader of its numbers must know.
    """

    model: Any
    parameters: int
    seconds: float
    peak_bytes: int
    note: str = ""


Method = Callable[[Case], Pruned]
Peer = Callable[[Any, Tensor, int], str]
"""Prunes a model of transformers in place, by calibration windows (N, S), to a number of
parameters as near to the target as its units allow; returns a note."""


def through_pipeline(method: str = "slimgpt", **fields: Any) -> Method:
    """A method of the product, by further fields of its specification."""

    def prune(case: Case) -> Pruned:
        more = {"evaluation": EvaluationSpec(texts=()), **fields}
        spec = case.subject.spec(method, case.ratio, case.samples, case.seed, **more)
        with tempfile.TemporaryDirectory() as name:
            events = _run(spec, Path(name), case)
            peak = memory.peak_bytes(case.device)
            took = {event.stage: event.seconds for event in events
                    if isinstance(event, StageFinished)}  # fmt: skip
            folder = Path(name) / "checkpoint"
            found = Checkpoint.open(folder).architecture
            with no_layers_are_built():  # by the global sizes, of which transformers warns
                model = whole_model.load(folder, found.family, found.dtype, case.device)
        seconds = sum(took[stage] for stage in PRUNING)
        return Pruned(model, dense.parameters(model), seconds, peak)

    return prune


def _run(spec: Any, folder: Path, case: Case) -> list[Event]:
    from slimgpt.pipeline import run

    return list(run(spec, folder, case.subject.roots, str(case.device)))


def in_memory(peer: Peer) -> Method:
    """A method that prunes a model of transformers in memory."""

    def prune(case: Case) -> Pruned:
        spec = case.subject.spec("slimgpt", case.ratio, case.samples, case.seed)
        windows = texts.calibration(case.subject, spec).to(case.device)
        model = dense.load(case.subject.folder, case.device)
        began = time.monotonic()
        note = peer(model, windows, case.target)
        seconds = time.monotonic() - began
        peak = memory.peak_bytes(case.device)
        return Pruned(model, dense.parameters(model), seconds, peak, note)

    return prune


RECIPES: Mapping[str, Mapping[str, Any]] = {
    "paper": {"recipe": "paper"},
    "measured": {"recipe": "measured", "head_unit": "mixed"},
}
"""Fields of the specification of the product's own two rows."""
METHODS: Mapping[str, Method] = {
    **{name: through_pipeline(**fields) for name, fields in RECIPES.items()},
    "magnitude": through_pipeline(method="magnitude"),
    "wanda-sp": through_pipeline(method="wanda-sp"),
    "flap": through_pipeline(method="flap"),
    "llm-pruner": in_memory(llm_pruner.prune),
    "slicegpt": in_memory(slicegpt.prune),
    "shortgpt": in_memory(shortgpt.prune),
    "olica": in_memory(olica.prune),
}
BASIS = "paper"
"""The method whose excess of perplexity the others' are shares of."""
