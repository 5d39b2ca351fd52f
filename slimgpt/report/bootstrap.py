"""Confidence intervals of perplexities from resampled windows (Efron's percentile bootstrap).

A text's windows are taken as independent draws of the text that the model will read. Each of
`REPLICATES` samples draws as many windows with replacement; the middle 95% of the samples'
perplexities is the interval. The dense and a smaller model are measured on the same windows, and
resampled together: what makes a window hard for both cancels in their ratio, whose interval is
much narrower than those of the two perplexities suggest.

Samples of n windows vary with n − 1 degrees of freedom; deviations are widened by √(n / (n − 1)).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from slimgpt.events import Interval
from slimgpt.layers.perplexity import LARGEST_LOG

REPLICATES = 2000
PERCENTILES = (2.5, 97.5)
SEED = 0
AT_ONCE = 1 << 20
"""Windows that are drawn at once."""


def intervals(
    losses: Mapping[str, Sequence[float]], predicted: int
) -> tuple[dict[str, Interval], dict[str, Interval]]:
    """Intervals of the models' perplexities, and of their ratios to that of the dense model.

    Args:
        losses: by model, the negative log likelihood of each window, its sum in nats; all models
            have the same windows, and one is `dense`.
        predicted: number of predicted tokens of each window.

    Returns:
        Both by model, the ratios without `dense`; both empty for a single window.
    """
    names = list(losses)
    logs_MN = np.array([losses[name] for name in names], dtype=np.float64) / predicted
    if logs_MN.shape[1] < 2:
        return {}, {}
    means_MR = _resampled(logs_MN)
    dense = names.index("dense")
    perplexities, ratios = {}, {}
    for index, name in enumerate(names):
        perplexities[name] = _interval(means_MR[index], logs_MN[index], logs_MN.shape[1])
        if index != dense:
            apart_N = logs_MN[index] - logs_MN[dense]
            apart_R = means_MR[index] - means_MR[dense]
            ratios[name] = _interval(apart_R, apart_N, logs_MN.shape[1])
    return perplexities, ratios


def _resampled(logs_MN: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over windows drawn with replacement, (models, replicates)."""
    generator, count = np.random.default_rng(SEED), logs_MN.shape[1]
    most = max(1, AT_ONCE // count)
    found = []
    for start in range(0, REPLICATES, most):
        chosen_RN = generator.integers(count, size=(min(most, REPLICATES - start), count))
        found.append(logs_MN[:, chosen_RN].mean(axis=2))
    return np.concatenate(found, axis=1)


def _interval(means_R: NDArray[np.float64], logs_N: NDArray[np.float64], count: int) -> Interval:
    centre = float(logs_N.mean())
    wider = math.sqrt(count / (count - 1))
    low, high = (
        math.exp(min(centre + wider * (float(edge) - centre), LARGEST_LOG))
        for edge in np.percentile(means_R, PERCENTILES)
    )
    return low, high
