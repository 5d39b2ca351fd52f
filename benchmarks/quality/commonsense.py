"""The seven commonsense tasks, asked of a model in memory: a fixed sample with standard errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.models import SHARED
from slimgpt.harness import scores
from slimgpt.harness.harness_run import HarnessRun, batch_size
from slimgpt.harness.harness_task import HarnessTask, prepare
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import EvaluationSpec, TaskSpec
from slimgpt.texts.tokenization.tokenizer import Tokenizer

NAME = "commonsense"


class LoadedModel(HarnessRun):
    """A model that is in memory already, wrapped for the harness.

    Args:
        model: a causal language model of transformers.
        folder: where its tokenizer lies.
    """

    def __init__(self, model: Any, folder: Path) -> None:
        from lm_eval.models.huggingface import HFLM

        tokenizer = Tokenizer.load(folder).inner
        together = batch_size(model.config.vocab_size, model.device)
        self._model = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=together)


def questions(limit: int) -> HarnessTask:
    """The tasks, with the first so many questions of each.

    Raises:
        SpecError: the harness is not installed.
        CalibrationError: the questions are not there.
    """
    spec = EvaluationSpec(tasks=(TaskSpec(name=NAME, limit=limit),), tasks_source="local:zeroshot")
    [task] = prepare(spec, Roots(SHARED, SHARED / "data", confined=False))
    return task


def ask(task: HarnessTask, model: Any, folder: Path) -> dict[str, tuple[float, float]]:
    """Score and standard error of each task, and of their mean."""
    with LoadedModel(model, folder) as run:
        metrics = {leaf.name: run.answer(leaf).metrics for leaf in task.leaves}
    return {row.task: (row.value, row.error or 0.0) for row in scores.rows(task, metrics)}
