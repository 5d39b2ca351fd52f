"""Perplexity in the `evaluate` stage: dense, pruned and recovered model on the same windows."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

from slimgpt.events import Event, ModelName, Perplexity, Progress
from slimgpt.layers import perplexity
from slimgpt.layers.perplexity import Likelihood
from slimgpt.layers.stack import StoredModel
from slimgpt.machine.ranks import Ranks
from slimgpt.report import bootstrap
from slimgpt.stages.resolve import EvaluationSet


def evaluate(
    evaluation_sets: Sequence[EvaluationSet],
    models: Mapping[ModelName, StoredModel],
    ranks: Ranks,
    known: Sequence[Likelihood] = (),
) -> Generator[Event, None, tuple[list[Perplexity], list[Likelihood]]]:
    """Perplexity of the models on every evaluation set.

    Args:
        models: `dense` and `pruned`, and `recovered` after a recovery.
        known: the dense model's likelihoods on the same sets, if they were measured before.

    Returns:
        the perplexities, and the dense model's likelihoods, of each set.

    Raises:
        NumericalError: a likelihood is not finite.
    """
    layers = models["dense"].checkpoint.architecture.layers
    total, before = len(models) * len(evaluation_sets) * layers, 0
    results: list[Perplexity] = []
    dense: list[Likelihood] = []
    for number, evaluation_set in enumerate(evaluation_sets):
        found: dict[ModelName, Likelihood] = {"dense": known[number]} if known else {}
        before += layers * len(found)
        for name, model in models.items():
            if name in found:
                continue
            windows, given = evaluation_set.windows, evaluation_set.begin.given
            measured = model.run(ranks, perplexity.measure, windows, given)
            what = f"{evaluation_set.text}, {evaluation_set.length} tokens, {name}"
            found[name] = yield from as_progress(measured, before, total, what)
            before += layers
        result = _result(evaluation_set, found)
        results.append(result)
        dense.append(found["dense"])
        yield result
    return results, dense


def _result(evaluation_set: EvaluationSet, found: Mapping[ModelName, Likelihood]) -> Perplexity:
    losses = {str(name): one.losses for name, one in found.items()}
    perplexities, ratios = bootstrap.intervals(losses, found["dense"].predicted)
    return Perplexity(
        text=evaluation_set.text,
        protocol=evaluation_set.protocol,
        sequence_length=evaluation_set.length,
        begins_with=evaluation_set.begin.text,
        tokens=len(evaluation_set.windows) * found["dense"].predicted,
        windows=len(evaluation_set.windows),
        sha256=evaluation_set.sha256,
        **{name: one.perplexity for name, one in found.items()},
        **{f"{name}_interval": one for name, one in perplexities.items()},
        **{f"{name}_ratio_interval": one for name, one in ratios.items()},
    )


def as_progress(
    measured: Generator[int, None, Likelihood], before: int, total: int, what: str = ""
) -> Generator[Event, None, Likelihood]:
    """Convert the layer counts of a measurement to progress events of the stage."""
    while True:
        try:
            done = before + next(measured)
        except StopIteration as finished:
            likelihood: Likelihood = finished.value
            return likelihood
        yield Progress(stage="evaluate", done=done, total=total, what=what)
