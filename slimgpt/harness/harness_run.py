"""`HarnessRun`: one loaded model evaluated by lm-evaluation-harness.

On several devices each holds the model and answers a share of the questions.
"""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import random
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slimgpt.checkpoints.families.architecture import Architecture
from slimgpt.checkpoints.output import whole_model
from slimgpt.errors import BrokenCheckpointError, MemoryExhaustedError
from slimgpt.harness.harness_task import SEED, Leaf
from slimgpt.machine.ranks import Ranks
from slimgpt.texts.tokenization.tokenizer import Tokenizer

BOOTSTRAP = 1000  # samples, for standard errors of metrics that are not means
LARGEST_BATCH = 64
USUAL_TOKENS = 512
LOGITS = {"cpu": 2**27, "cuda": 2**30}  # elements for a batch of questions of USUAL_TOKENS
CUT = ("Combined length of context", "Left truncation applied")
TOO_LONG = "sequence-length-is-longer-than-the-specified-maximum"
ASKED = ("loglikelihood", "loglikelihood_rolling", "generate_until")
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
        ranks: on whose devices; the dtype is the checkpoint's.

    Raises:
        BrokenCheckpointError: the tokenizer has no `bos_token` and no `eos_token`.
    """

    def __init__(self, folder: Path, architecture: Architecture, ranks: Ranks) -> None:
        self._answering = ranks.together(_answers, folder, architecture)
        self._model = next(self._answering)
        self._cut = 0

    def __enter__(self) -> HarnessRun:
        return self

    def __exit__(self, *_: object) -> None:
        del self._model
        with contextlib.suppress(StopIteration):
            self._answering.send(None)

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
        self._cut = 0
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
            results = evaluate(
                lm=_Divided(self._model, self._responses),
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
        return Answers(metrics, self._cut)

    def _responses(self, name: str, arguments: list[Any]) -> list[Any]:
        found = self._answering.send((name, arguments, self._model.batch_size_per_gpu))
        for answered in found:
            if isinstance(answered, torch.OutOfMemoryError):
                raise answered
        self._cut += sum(cut for _, cut in found)
        return [response for responses, _ in found for response in responses]


class _Divided:
    """The harness's model, its questions passed to those who answer them."""

    def __init__(self, model: Any, responses: Callable[[str, list[Any]], list[Any]]) -> None:
        self._model, self._responses = model, responses

    def __getattr__(self, name: str) -> Any:
        if name not in ASKED:
            return getattr(self._model, name)
        return lambda requests: self._responses(name, [request.args for request in requests])


Asked = tuple[str, Sequence[Any], int]
"""A method of the harness's model, the arguments of all requests, and the batch size."""


def _answers(
    ranks: Ranks, folder: Path, architecture: Architecture
) -> Generator[Any, Asked | None, None]:
    """Load the model in every rank and yield it; then for each that is asked here the answers.

    An answer is what each rank has to say in its turn: responses with the number of cut questions,
    or that memory ran out. None ends it.
    """
    found: Any = _loaded(folder, architecture, ranks.device)
    model = found
    while (asked := ranks.broadcast((yield found))) is not None:
        found = ranks.gather([_answered(model, asked, ranks)])
    del model, found
    gc.collect()
    if ranks.device.type == "cuda":
        torch.cuda.empty_cache()


def _answered(
    model: Any, asked: Asked, ranks: Ranks
) -> tuple[list[Any], int] | torch.OutOfMemoryError:
    """This rank's share of the responses."""
    from lm_eval.api.instance import Instance

    name, arguments, model.batch_size_per_gpu = asked
    own = [Instance(name, {}, one, n) for n, one in enumerate(ranks.share(arguments))]
    if ranks.rank:
        torch.manual_seed(SEED)
    try:
        with _counted() as cut, contextlib.redirect_stderr(io.StringIO()):
            return (getattr(model, name)(own) if own else []), sum(cut)
    except torch.OutOfMemoryError as error:
        return error


def _loaded(folder: Path, architecture: Architecture, device: torch.device) -> Any:
    from lm_eval.models.huggingface import HFLM

    loaded = Tokenizer.load(folder)
    require_prefix(loaded)
    tokenizer = loaded.inner
    tokenizer.deprecation_warnings[TOO_LONG] = True  # truncation is counted in `Answers.cut`
    model = whole_model.load(folder, architecture.family, architecture.dtype, device)
    together = batch_size(architecture.vocabulary, device)
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=together)


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
