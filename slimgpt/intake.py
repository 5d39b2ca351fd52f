"""What a job works on: the model, the calibration tokens, the evaluation windows.

Everything that can be wrong with them is found here, before any expensive work.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.config import HELD_OUT, PruneSpec
from slimgpt.events import Event, Progress, Warned
from slimgpt.layers.stack import Stack
from slimgpt.origins.resolve import ResolvedModel, resolve_model
from slimgpt.origins.roots import PREFIX, Roots
from slimgpt.planning import forecast
from slimgpt.texts import calibration, windows
from slimgpt.texts import sources as texts
from slimgpt.texts.calibration import Calibration
from slimgpt.texts.tokenizer import Tokenizer

HELD_OUT_WINDOWS = 32
HELD_OUT_TOKENS = 16384


@dataclass(frozen=True)
class Exam:
    """One text under one protocol.

    Attributes:
        windows: token ids (n, length) int64.
    """

    text: str
    protocol: str
    windows: Tensor

    @property
    def length(self) -> int:
        """Tokens in a window."""
        return int(self.windows.shape[1])


@dataclass(frozen=True)
class Intake:
    """A job's inputs, checked."""

    model: ResolvedModel
    checkpoint: Checkpoint
    calibration: Calibration
    exams: tuple[Exam, ...]


def take_in(spec: PruneSpec, roots: Roots) -> Generator[Event, None, Intake]:
    """Resolve the model, draw the calibration tokens, cut the evaluation windows.

    Raises:
        ModelNotFoundError, UnsupportedModelError, BrokenCheckpointError: the model.
        UnreachableTargetError, SpecError: no legal plan meets the target.
        CalibrationError: the texts.
    """
    yield Progress(stage="resolve", done=0, total=3, what="model")
    model = resolve_model(spec.model, roots, cache=None)
    local = spec.model.startswith(PREFIX)
    checkpoint = Checkpoint.open(
        model.folder, within=roots.models if local and roots.confined else None
    )
    Stack(checkpoint, torch.device("cpu"))  # a config that builds no model is refused here
    forecast.make(checkpoint, spec)  # a target out of reach is refused before any text is read
    tokenizer = Tokenizer.load(model.folder)
    yield Progress(stage="resolve", done=1, total=3, what="calibration text")
    drawn = draw(spec, tokenizer, roots)
    yield Progress(stage="resolve", done=2, total=3, what="evaluation text")
    exams = yield from examine(spec, tokenizer, drawn, roots)
    yield Progress(stage="resolve", done=3, total=3)
    return Intake(model, checkpoint, drawn, tuple(exams))


def draw(spec: PruneSpec, tokenizer: Tokenizer, roots: Roots) -> Calibration:
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
    )


def examine(
    spec: PruneSpec, tokenizer: Tokenizer, drawn: Calibration, roots: Roots
) -> Generator[Event, None, list[Exam]]:
    """The evaluation windows of every text at every length."""
    exams: list[Exam] = []
    for text in spec.evaluation.texts:
        if text == HELD_OUT and not len(drawn.held_out):
            message = (
                "no held-out text: calibration used all of its source, perplexity not measured"
            )
            yield Warned(message=message)
            continue
        content = None if text == HELD_OUT else texts.evaluation_text(text, roots)
        for length in spec.evaluation.sequence_lengths:
            if content is None:
                exam = _held_out(drawn.held_out, length, spec.evaluation.max_tokens)
                if exam.length < length:
                    message = f"held-out windows have {exam.length} tokens, not {length}"
                    yield Warned(message=message)
            else:
                most = spec.evaluation.max_tokens
                cut = windows.windows(content, tokenizer, length, most)
                exam = Exam(text, windows.protocol(text, length, most), cut)
            exams.append(exam)
    return exams


def _held_out(held_out: Tensor, length: int, most: int | None) -> Exam:
    """Held-out calibration windows (n, seq) cut to `length` tokens, or left as long as they are.

    Args:
        most: use only so many tokens, one window at least; None uses all.
    """
    length = min(length, held_out.shape[1])
    pieces = held_out.shape[1] // length
    cut = held_out[:, : pieces * length].reshape(-1, length)
    if most is not None:
        cut = cut[: max(1, most // length)]
    protocol = f"windows of {length} tokens from the calibration source that calibration left out"
    return Exam(HELD_OUT, protocol, cut)
