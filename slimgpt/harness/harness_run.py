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

BOOTSTRAP = 1000  # samples, for standard errors of metrics that are not means
LARGEST_BATCH = 64
USUAL_TOKENS = 512
LOGITS = {"cpu": 2**27, "cuda": 2**30}  # elements for a batch of questions of USUAL_TOKENS
CUT = ("Combined length of context", "Left truncation applied")
TOO_LONG = "sequence-length-is-longer-than-the-specified-maximum"
HARNESS_LOG = logging.getLogger("lm_eval.models.huggingface")


@dataclass(frozen=True)
class Answers:
    """A model's results on one task.

    Attributes:
        metrics: the harness's metrics; keys such as `acc,none`, `acc_stderr,none`.
        cut: number of batches or questions that exceeded the model's positions and were truncated
            at the start.
    """

    metrics: Mapping[str, Any]
    cut: int


class HarnessRun:
    """A model in memory, wrapped for the harness; a context manager that frees it.

    Args:
        folder: made by `checkpoints.output.whole_model`, so that no other code runs.
        architecture: the model's architecture.
        device: the device; the dtype is the checkpoint's.

    Raises:
        BrokenCheckpointError: the tokenizer has no `bos_token` and no `eos_token`.
    """

    def __init__(self, folder: Path, architecture: Architecture, device: torch.device) -> None:
        from lm_eval.models.huggingface import HFLM

        loaded = Tokenizer.load(folder)
        require_prefix(loaded)
        tokenizer = loaded.inner
        tokenizer.deprecation_warnings[TOO_LONG] = True  # truncation is counted in `Answers.cut`
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
        """Evaluate all questions of a task; the batch size is halved when memory runs out.

        Raises:
            MemoryExhaustedError: a batch of one question does not fit.
        """
        while True:
            try:
                return self._answer(leaf)
            except torch.OutOfMemoryError as error:
                if self._model.batch_size_per_gpu == 1:
                    raise MemoryExhaustedError(
                        f"task {leaf.name}: the model and one question do not fit the device",
                        hint="use a larger device, or choose tasks with shorter questions",
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
    """Check that a tokenizer has a `bos_token` or `eos_token`, which the harness needs as prefix.

    Raises:
        BrokenCheckpointError: it has neither.
    """
    if tokenizer.begin is None and tokenizer.end is None:
        raise BrokenCheckpointError(
            "evaluation.tasks: the model's tokenizer has neither `bos_token` nor `eos_token`",
            hint="set one in tokenizer_config.json, or remove `evaluation.tasks`",
        )


def batch_size(vocabulary: int, device: torch.device) -> int:
    """Questions in a batch; the same for all models of a job, so that rounding is the same."""
    fits = LOGITS.get(device.type, LOGITS["cuda"]) // (vocabulary * USUAL_TOKENS)
    return max(1, min(LARGEST_BATCH, fits))


@contextlib.contextmanager
def _counted() -> Iterator[list[int]]:
    """Count the harness's warnings of truncated questions instead of printing them."""
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
