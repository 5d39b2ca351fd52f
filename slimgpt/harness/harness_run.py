"""`HarnessRun`: one loaded model evaluated by lm-evaluation-harness."""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slimgpt.checkpoints.families.architecture import Architecture
from slimgpt.checkpoints.output import whole_model
from slimgpt.errors import BrokenCheckpointError, MemoryExhaustedError
from slimgpt.harness.harness_task import SEED, Leaf
from slimgpt.texts.tokenization.tokenizer import Tokenizer

BOOTSTRAP = 1000  # draws, for the errors of metrics that are no mean
LARGEST_BATCH = 64
USUAL_TOKENS = 512
LOGITS = {"cpu": 2**27, "cuda": 2**30}  # elements of a batch of questions of the usual length
CUT = ("Combined length of context", "Left truncation applied")
TOO_LONG = "sequence-length-is-longer-than-the-specified-maximum"
HARNESS_LOG = logging.getLogger("lm_eval.models.huggingface")


@dataclass(frozen=True)
class Answers:
    """What a model has scored.

    Attributes:
        metrics: what the harness says of the task; keys such as `acc,none`, `acc_stderr,none`.
        cut: batches or questions that were longer than the model's positions and lost their start.
    """

    metrics: Mapping[str, Any]
    cut: int


class HarnessRun:
    """A model in memory, wrapped for the harness; a context manager that frees it.

    Args:
        folder: of the engine's own making (`checkpoints.whole`): no other code is run.
        architecture: of the model.
        device: where it computes, in the dtype of the checkpoint.

    Raises:
        BrokenCheckpointError: the tokenizer has no token to begin a text with.
    """

    def __init__(self, folder: Path, architecture: Architecture, device: torch.device) -> None:
        from lm_eval.models.huggingface import HFLM

        loaded = Tokenizer.load(folder)
        require_prefix(loaded)
        tokenizer = loaded.inner
        tokenizer.deprecation_warnings[TOO_LONG] = True  # said already: the harness cuts, we count
        model = whole_model.load(folder, architecture.family, architecture.dtype, device)
        together = batch_size(architecture.vocabulary, device)
        self._model = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=together)

    def __enter__(self) -> HarnessRun:
        return self

    def __exit__(self, *_: object) -> None:
        del self._model
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def answer(self, leaf: Leaf) -> Answers:
        """Ask all questions of a task; with half as many at a time where memory runs out.

        Raises:
            MemoryExhaustedError: not even one at a time fits.
        """
        while True:
            try:
                return self._answer(leaf)
            except torch.OutOfMemoryError as error:
                if self._model.batch_size_per_gpu == 1:
                    raise MemoryExhaustedError(
                        f"task {leaf.name}: the whole model and one question do not fit the device",
                        hint="use a larger device, or ask for tasks with shorter questions",
                    ) from error
            torch.cuda.empty_cache()
            self._model.batch_size_per_gpu //= 2

    def _answer(self, leaf: Leaf) -> Answers:
        from lm_eval.evaluator import evaluate

        random.seed(SEED)  # for tasks that sample
        np.random.seed(SEED)
        torch.manual_seed(SEED)
        leaf.task.set_fewshot_seed(SEED)
        asked = {"tasks": {leaf.name: leaf.task}, "groups": {}, "group_map": {}}
        with _counted() as cut, contextlib.redirect_stderr(io.StringIO()):  # its progress bars
            results = evaluate(
                lm=self._model,
                task_dict=asked,
                limit=leaf.limit,
                bootstrap_iters=BOOTSTRAP,
                log_samples=False,
            )
        metrics = {
            key: value if isinstance(value, str) else float(value)
            for key, value in results["results"][leaf.name].items()
            if isinstance(value, str | int | float)
        }
        return Answers(metrics, sum(cut))


def require_prefix(tokenizer: Tokenizer) -> None:
    """See that a tokenizer has a token to begin a text with, which the harness needs.

    Raises:
        BrokenCheckpointError: it has neither a token of beginning nor of end.
    """
    if tokenizer.begin is None and tokenizer.end is None:
        raise BrokenCheckpointError(
            "evaluation.tasks: the model's tokenizer names neither `bos_token` nor `eos_token`",
            hint="name one in tokenizer_config.json, or ask for no tasks",
        )


def batch_size(vocabulary: int, device: torch.device) -> int:
    """Questions at a time; the same for all models of a job, so that their rounding is, too."""
    fits = LOGITS.get(device.type, LOGITS["cuda"]) // (vocabulary * USUAL_TOKENS)
    return max(1, min(LARGEST_BATCH, fits))


@contextlib.contextmanager
def _counted() -> Iterator[list[int]]:
    """Within it, what the harness says of questions that are too long is counted, not printed."""
    found: list[int] = []

    def count(record: logging.LogRecord) -> bool:
        found.append(record.getMessage().startswith(CUT))
        return False

    level = HARNESS_LOG.level
    HARNESS_LOG.setLevel(logging.WARNING)
    HARNESS_LOG.addFilter(count)
    try:
        yield found
    finally:
        HARNESS_LOG.removeFilter(count)
        HARNESS_LOG.setLevel(level)
