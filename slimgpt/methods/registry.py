"""Registry of the pruning methods by name."""

from __future__ import annotations

from collections.abc import Callable

from slimgpt.methods import baselines, slimgpt
from slimgpt.methods.problem import Problem, Prune, Settings, Solution
from slimgpt.spec.prune import Method, PruneSpec

METHODS: dict[Method, Callable[[Problem, Settings], Solution]] = {
    "slimgpt": slimgpt.prune,
    "magnitude": baselines.magnitude,
    "wanda-sp": baselines.wanda_sp,
    "flap": baselines.flap,
}
NEED_DENSE_PASS: frozenset[Method] = frozenset({"flap"})  # need a pass over the dense model first


def of(spec: PruneSpec) -> Prune:
    """The specification's method with its settings."""
    method = METHODS[spec.method]
    settings = settings_of(spec)
    return lambda problem: method(problem, settings)


def settings_of(spec: PruneSpec) -> Settings:
    """The settings of the specification that methods use."""
    return Settings(spec.head_score, spec.group_size, spec.damping)
