"""The `evaluate` stage: the dense and the pruned model on the same windows, one after the other."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from slimgpt.events import Event, Perplexity, Progress
from slimgpt.intake import Exam
from slimgpt.layers import perplexity
from slimgpt.layers.stack import Stack


def evaluate(
    exams: Sequence[Exam], dense: Stack, pruned: Stack
) -> Generator[Event, None, list[Perplexity]]:
    """Perplexity of both models on every exam.

    Raises:
        NumericalError: a likelihood is not finite.
    """
    layers = dense.architecture.layers
    total, before = 2 * len(exams) * layers, 0
    results: list[Perplexity] = []
    for exam in exams:
        values: list[float] = []
        for name, stack in (("dense", dense), ("pruned", pruned)):
            measured = perplexity.measure(stack, exam.windows)
            what = f"{exam.text}, {exam.length} tokens, {name}"
            values.append((yield from _watched(measured, before, total, what)))
            before += layers
        result = Perplexity(
            text=exam.text,
            protocol=exam.protocol,
            sequence_length=exam.length,
            tokens=exam.windows.shape[0] * (exam.length - 1),
            dense=values[0],
            pruned=values[1],
        )
        results.append(result)
        yield result
    return results


def _watched(
    measured: Generator[int, None, float], before: int, total: int, what: str
) -> Generator[Event, None, float]:
    """A measurement with its layers told as progress of the stage."""
    while True:
        try:
            done = before + next(measured)
        except StopIteration as finished:
            return float(finished.value)
        yield Progress(stage="evaluate", done=done, total=total, what=what)
