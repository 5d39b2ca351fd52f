"""The `resolve` stage: opens the model, draws calibration tokens and evaluation windows.

Errors in them are found here, before any expensive work.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from slimgpt.checkpoints import tokenizer_checks
from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.teacher import require_vocabulary
from slimgpt.events import Event, Progress, Warned
from slimgpt.harness.harness_run import require_prefix
from slimgpt.harness.harness_task import HarnessTask, prepare
from slimgpt.planning import forecast
from slimgpt.recovery.training_data import TrainingData, gather
from slimgpt.sources.resolve import ResolvedModel, resolve_model
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import HELD_OUT, EvaluationSpec, PruneSpec
from slimgpt.texts import calibration
from slimgpt.texts import sources as texts
from slimgpt.texts.calibration import Calibration
from slimgpt.texts.overlap import RUN, Seen
from slimgpt.texts.tokenization import sandbox, windows
from slimgpt.texts.tokenization.tokenizer import Tokenizer
from slimgpt.texts.tokenization.windows import Beginning
from slimgpt.verification import sanity

HELD_OUT_WINDOWS = 32
HELD_OUT_TOKENS = 16384


@dataclass(frozen=True)
class EvaluationSet:
    """One text under one protocol.

    Attributes:
        windows: token ids (n, length) int64.
        begin: the tokens that each window begins with.
    """

    text: str
    protocol: str
    windows: Tensor
    begin: Beginning

    @property
    def length(self) -> int:
        """Tokens in a window."""
        return int(self.windows.shape[1])

    @property
    def sha256(self) -> str:
        """Over the token ids, and how many of each window are not predicted."""
        return windows.digest(self.windows, self.begin.given)

    @property
    def ids(self) -> list[int]:
        """The text's own tokens, the windows joined."""
        ids: list[int] = self.windows[:, len(self.begin.ids) :].flatten().tolist()
        return ids


@dataclass(frozen=True)
class JobInputs:
    """A job's inputs, checked."""

    model: ResolvedModel
    checkpoint: Checkpoint
    calibration: Calibration
    evaluation_sets: tuple[EvaluationSet, ...]
    training_data: TrainingData | None = None
    """The training data of recovery; None without recovery."""
    harness_tasks: tuple[HarnessTask, ...] = ()
    """The tasks that the models are evaluated on."""
    end_token: int | None = None
    teacher: Checkpoint | None = None
    """The teacher of a distillation; None: the checkpoint itself."""


def resolve(spec: PruneSpec, roots: Roots) -> Generator[Event, None, JobInputs]:
    """Resolve the model, draw the calibration tokens, cut the evaluation windows.

    Raises:
        ModelNotFoundError, UnsupportedModelError, BrokenCheckpointError: of the model.
        UnreachableTargetError, SpecError: no legal plan meets the target.
        CalibrationError: of the texts, or of the questions of tasks.
    """
    yield Progress(stage="resolve", done=0, total=_steps(spec), what="finding the model")
    model = resolve_model(spec.model, roots)
    yield Progress(stage="resolve", done=0, total=_steps(spec), what="reading the model")
    checkpoint = _opened(model, roots)
    sanity.build(checkpoint)
    for point in spec.points:
        forecast.make(checkpoint, point)  # refuse an unreachable target before any text is read
    teacher = _teacher(spec, checkpoint, roots)
    with sandbox.opened(model.folder) as tokenizer:
        sandbox.describe(tokenizer)  # fails now rather than when the result is verified
        texts_read = yield from _read_texts(spec, tokenizer, roots)
        end = tokenizer.end
    return JobInputs(model, checkpoint, *texts_read, end_token=end, teacher=teacher)


def _steps(spec: PruneSpec) -> int:
    return 3 if spec.recovery is None else 4


TextsRead = tuple[
    Calibration, tuple[EvaluationSet, ...], TrainingData | None, tuple[HarnessTask, ...]
]


def _read_texts(
    spec: PruneSpec, tokenizer: Tokenizer, roots: Roots
) -> Generator[Event, None, TextsRead]:
    """Read and tokenize all texts of the job."""
    steps = _steps(spec)
    harness_tasks: tuple[HarnessTask, ...] = ()
    if spec.evaluation.tasks:
        yield Progress(stage="resolve", done=0, total=steps, what="tasks")
        require_prefix(tokenizer)
        harness_tasks = prepare(spec.evaluation, roots)
    yield Progress(stage="resolve", done=1, total=steps, what="calibration text")
    for length in spec.evaluation.generated_lengths.values():
        tokenizer.check_length(length)
    drawn = draw_calibration(spec, tokenizer, roots)
    yield Progress(stage="resolve", done=2, total=steps, what="evaluation text")
    evaluation_sets = yield from build_evaluation_sets(spec, tokenizer, drawn, roots)
    yield from overlaps(drawn, evaluation_sets)
    training_data = None
    if spec.recovery is not None:
        yield Progress(stage="resolve", done=3, total=steps, what="recovery text")
        asked = [evaluation_set.ids for evaluation_set in evaluation_sets]
        training_data = gather(spec.recovery, tokenizer, asked, roots)
        if training_data.left_out:
            yield Warned(message=f"recovery skips rows: {training_data.left_out}")
    yield Progress(stage="resolve", done=steps, total=steps)
    return drawn, tuple(evaluation_sets), training_data, harness_tasks


def _opened(model: ResolvedModel, roots: Roots) -> Checkpoint:
    checkpoint = Checkpoint.open(model.folder, within=roots.within(model.model))
    tokenizer_checks.check(checkpoint.location)
    return checkpoint


def _teacher(spec: PruneSpec, student: Checkpoint, roots: Roots) -> Checkpoint | None:
    """The teacher in the specification, or None."""
    if spec.recovery is None or spec.recovery.teacher is None:
        return None
    teacher = _opened(resolve_model(spec.recovery.teacher, roots), roots)
    sanity.build(teacher)
    require_vocabulary(teacher, student, spec.recovery.teacher)
    return teacher


def draw_calibration(spec: PruneSpec, tokenizer: Tokenizer, roots: Roots) -> Calibration:
    """The job's calibration tokens, and held-out windows if the evaluation asks for them."""
    wanted = spec.calibration
    held_out = 0
    if HELD_OUT in spec.evaluation.texts:
        held_out = max(HELD_OUT_WINDOWS, HELD_OUT_TOKENS // wanted.sequence_length)
    documents = texts.documents(
        wanted.source,
        config=wanted.config,
        split=wanted.split,
        text_field=wanted.text_field,
        roots=roots,
    )
    return calibration.sample(
        documents,
        tokenizer,
        samples=wanted.samples,
        sequence_length=wanted.sequence_length,
        seed=wanted.seed,
        held_out=held_out,
        bos=wanted.bos,
    )


def build_evaluation_sets(
    spec: PruneSpec, tokenizer: Tokenizer, drawn: Calibration, roots: Roots
) -> Generator[Event, None, list[EvaluationSet]]:
    """The evaluation windows of every text at every length."""
    wanted = spec.evaluation
    evaluation_sets: list[EvaluationSet] = []
    for text in wanted.texts:
        if text == HELD_OUT and not len(drawn.held_out):
            message = (
                "no held-out text: calibration used all of its source, perplexity not measured"
            )
            yield Warned(message=message)
            continue
        content = None if text == HELD_OUT else texts.evaluation_text(text, roots)
        for length in wanted.sequence_lengths:
            if content is None:
                evaluation_set = _held_out(spec, tokenizer, drawn.held_out, length)
                if evaluation_set.length < length:
                    message = f"held-out windows have {evaluation_set.length} tokens, not {length}"
                    yield Warned(message=message)
            else:
                evaluation_set = _cut(wanted, tokenizer, text, content, length)
            evaluation_sets.append(evaluation_set)
    return evaluation_sets


def _cut(
    wanted: EvaluationSpec, tokenizer: Tokenizer, text: str, content: str, length: int
) -> EvaluationSet:
    most, bos = wanted.max_tokens, wanted.bos
    cut = windows.windows(content, tokenizer, length, most, f"evaluation text {text}", bos)
    begin = Beginning.of(tokenizer, bos, length)
    return EvaluationSet(text, windows.protocol(text, length, most, begin), cut, begin)


def overlaps(drawn: Calibration, evaluation_sets: Sequence[EvaluationSet]) -> Iterator[Warned]:
    """Warn of every evaluation set that shares text with calibration."""
    if not evaluation_sets:
        return
    seen = Seen(drawn.input_ids.numpy())
    for evaluation_set in evaluation_sets:
        # Windows are consecutive in the text: a shared run may cross the border between two.
        covered = seen.covers(evaluation_set.ids).reshape(len(evaluation_set.windows), -1)
        if count := int(covered.any(axis=1).sum()):
            yield Warned(
                message=f"evaluation on {evaluation_set.text}: {count:,} of {len(covered):,} "
                f"windows of {evaluation_set.length} tokens share {RUN} tokens in a row or more "
                "with the calibration text, which favours the pruned model"
            )


def _held_out(
    spec: PruneSpec, tokenizer: Tokenizer, held_out: Tensor, length: int
) -> EvaluationSet:
    """Held-out calibration windows (n, seq) cut to `length` tokens if they are longer.

    `max_tokens` keeps at least one window.
    """
    theirs = Beginning.of(tokenizer, spec.calibration.bos, held_out.shape[1])
    begin = Beginning.of(tokenizer, spec.evaluation.bos, length)
    bodies = held_out[:, len(theirs.ids) :].numpy().astype(np.int32)
    length = min(length, bodies.shape[1] + len(begin.ids))
    cut = [window for body in bodies for window in windows.end_to_end([body], length, begin.ids)]
    if (most := spec.evaluation.max_tokens) is not None:
        cut = cut[: max(1, most // length)]
    protocol = (
        f"windows of {length} tokens from the calibration source that calibration left out, {begin}"
    )
    return EvaluationSet(HELD_OUT, protocol, windows.stacked(cut, length), begin)
