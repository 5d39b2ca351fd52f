"""How much a job has to do, in token passes: a token of text through every parameter of the model.

What a calibration token costs is told in forward passes that take as long, its share of Gram
matrices, inverses and elimination included: by the times in docs/performance.md. Several devices
share the texts; recovery trains on the first alone.
"""

from __future__ import annotations

from slimgpt.spec.prune import HELD_OUT, PruneSpec

PRUNING = {"slimgpt": 3.0, "wanda-sp": 2.0, "flap": 2.0, "magnitude": 2.0}
"""Passes of a calibration token that is pruned on: two, and what a Hessian and its inverse cost."""
TOWARDS_DENSE = 2.0
"""More of them with a residual target, which runs a second stream."""
SURVEYED, VARIANCES = 2.5, 1.0
"""Passes of a calibration token in the survey of schedule `measured`, and of method `flap`."""
PROBES, PROBE_TOKENS, PROBED = 8, 128, 32
"""Of schedule `measured`: sequences and tokens on which the output is compared, whatever the text;
of every second layer four times, through all layers behind it: half of some 32."""
LEARNED = 4.0
"""Passes of a token that is trained on; a teacher reads it once more."""
ROWS = 50_000
"""Rows of a recovery's source that is not cut; Alpaca has 52,002."""
HELD_OUT_TOKENS, TEXT_TOKENS = 16_384, 300_000
"""Tokens of an evaluation text that is not cut; WikiText-2 has about as many."""


def shape(spec: PruneSpec) -> tuple[object, ...]:
    """What decides how long a token takes; jobs of one shape are the best measure of each other."""
    return spec.method, spec.schedule.shape, spec.residual_target > 0, spec.devices


def surveying(spec: PruneSpec) -> float:
    """Token passes over the dense model before the plan; 0: it needs none."""
    tokens, wanted = _calibration_tokens(spec), spec.calibration
    found = VARIANCES * tokens * len(spec.points) if spec.method == "flap" else 0.0
    if spec.schedule.shape == "measured":  # once for all models of a sweep
        probes = min(PROBES, wanted.samples) * min(PROBE_TOKENS, wanted.sequence_length)
        found += SURVEYED * tokens + PROBED * probes
    return found / spec.devices


def pruning(spec: PruneSpec) -> float:
    """Token passes of the stage `prune`."""
    passes = PRUNING[spec.method] + (TOWARDS_DENSE if spec.residual_target else 0.0)
    return len(spec.points) * passes * _calibration_tokens(spec) / spec.devices


def evaluating(spec: PruneSpec) -> float:
    """Token passes for perplexities; the dense model has its own once, also in a sweep."""
    wanted = spec.evaluation
    models = 1 + len(spec.points) * (1 if spec.recovery is None else 2)
    whole = [HELD_OUT_TOKENS if text == HELD_OUT else TEXT_TOKENS for text in wanted.texts]
    tokens = sum(min(size, wanted.max_tokens or size) for size in whole)
    return models * tokens * len(wanted.sequence_lengths) / spec.devices


def recovering(spec: PruneSpec) -> float:
    """Token passes of a recovery that is not given its time."""
    recovery = spec.recovery
    if recovery is None or recovery.minutes is not None:
        return 0.0
    tokens = (recovery.samples or ROWS) * recovery.sequence_length
    read = tokens if recovery.method == "distillation" else 0  # for all models of a sweep
    return read + len(spec.points) * LEARNED * tokens * (recovery.epochs or 1)


def limited_seconds(spec: PruneSpec) -> float:
    """Seconds of a recovery that is given its time."""
    minutes = None if spec.recovery is None else spec.recovery.minutes
    return 60.0 * (minutes or 0.0) * len(spec.points)


def proofs(spec: PruneSpec) -> int:
    """Formats of all models: each is written, loaded in a fresh process, and published."""
    first = "uniform" if spec.layers_alike else "exact"
    return len(spec.points) * len({first, *spec.formats})


def _calibration_tokens(spec: PruneSpec) -> int:
    return spec.calibration.samples * spec.calibration.sequence_length
