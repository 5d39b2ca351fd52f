"""Perplexity in the `evaluate` stage: dense, pruned and recovered model on the same windows."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

from slimgpt.events import Event, ModelName, Perplexity, Progress
from slimgpt.layers import perplexity
from slimgpt.layers.stack import Stack
from slimgpt.stages.resolve import EvaluationSet


def evaluate(
    evaluation_sets: Sequence[EvaluationSet],
    models: Mapping[ModelName, Stack],
    known: Sequence[Perplexity] = (),
) -> Generator[Event, None, list[Perplexity]]:
    """Perplexity of the models on every evaluation set.

    Args:
        models: `dense` and `pruned`, and `recovered` after a recovery.
        known: earlier results on the same sets, from which the dense model's values are reused.

    Raises:
        NumericalError: a likelihood is not finite.
    """
    layers = models["dense"].architecture.layers
    total, before = len(models) * len(evaluation_sets) * layers, 0
    results: list[Perplexity] = []
    for number, evaluation_set in enumerate(evaluation_sets):
        values: dict[ModelName, float] = {"dense": known[number].dense} if known else {}
        before += layers * len(values)
        for name, stack in models.items():
            if name in values:
                continue
            measured = perplexity.measure(stack, evaluation_set.windows, evaluation_set.begin.given)
            what = f"{evaluation_set.text}, {evaluation_set.length} tokens, {name}"
            values[name] = yield from as_progress(measured, before, total, what)
            before += layers
        result = Perplexity(
            text=evaluation_set.text,
            protocol=evaluation_set.protocol,
            sequence_length=evaluation_set.length,
            begins_with=evaluation_set.begin.text,
            tokens=len(evaluation_set.windows)
            * (evaluation_set.length - evaluation_set.begin.given),
            **values,
        )
        results.append(result)
        yield result
    return results


def as_progress(
    measured: Generator[int, None, float], before: int, total: int, what: str = ""
) -> Generator[Event, None, float]:
    """Convert the layer counts of a measurement to progress events of the stage."""
    while True:
        try:
            done = before + next(measured)
        except StopIteration as finished:
            return float(finished.value)
        yield Progress(stage="evaluate", done=done, total=total, what=what)
