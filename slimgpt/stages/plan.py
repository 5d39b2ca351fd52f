"""The `plan` stage: heads and channels to keep in each layer, before any pruning."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch

from slimgpt.events import SURVEY, Event, Progress
from slimgpt.layers import damage_pass, dense_pass
from slimgpt.layers.layer_pruning import DenseVariances
from slimgpt.layers.stack import Stack, StoredModel
from slimgpt.machine.ranks import Ranks
from slimgpt.methods import registry as methods
from slimgpt.planning import forecast, plan
from slimgpt.planning.damage import Damage
from slimgpt.planning.plan import Plan
from slimgpt.spec.prune import PruneSpec
from slimgpt.stages.resolve import JobInputs
from slimgpt.verification import sanity


@dataclass(frozen=True)
class PruningPlan:
    """The plan and its parameters by layer.

    Attributes:
        variances: of the dense model's inputs, for methods that need a dense pass.
        damage: curves of every module, for schedule `measured`.
    """

    plan: Plan
    layer_parameters: tuple[tuple[int, int], ...]
    variances: tuple[DenseVariances, ...] | None = None
    damage: Damage | None = None


PROBE_TOKENS = 128


def try_models(inputs: JobInputs, device: torch.device) -> Generator[Event, None, None]:
    """Check that the dense model, and a distillation's teacher, compute finite logits.

    Raises:
        NumericalError: a model gives NaN or infinity.
    """
    probe = inputs.calibration.input_ids[:1, :PROBE_TOKENS].contiguous()
    for model, name in ((inputs.checkpoint, "dense model"), (inputs.teacher, "teacher")):
        if model is None:
            continue
        what, total = f"the {name} on one sequence", model.architecture.layers
        for done in sanity.compute(Stack(model, device), probe):
            yield Progress(stage="plan", done=done, total=total, what=what)


def make_plan(
    spec: PruneSpec, inputs: JobInputs, ranks: Ranks, damage: Damage | None = None
) -> Generator[Event, None, PruningPlan]:
    """Make the plan, after a dense pass if the method or the schedule needs one.

    Args:
        damage: curves of every module, if an earlier run has measured them.

    Raises:
        UnreachableTargetError, SpecError: no legal plan meets the target.
    """
    costs = forecast.costs_of(inputs.checkpoint, spec)
    made, variances = plan.make(spec, costs), None
    model, tokens = StoredModel(inputs.checkpoint), inputs.calibration.input_ids
    if spec.method in methods.NEED_DENSE_PASS:
        dense_layers = []
        for layer in model.run(ranks, dense_pass.dense_pass, tokens, costs):
            dense_layers.append(layer)
            yield _surveyed(len(dense_layers), len(costs.layers))
        variances = tuple(layer.variances for layer in dense_layers)
        if spec.schedule.shape == "global":
            made = plan.fit(dense_pass.global_allocation(dense_layers, costs), spec, costs)
    if spec.schedule.shape == "measured":
        if damage is None:
            settings = methods.settings_of(spec)
            measuring = model.run(ranks, damage_pass.measure, tokens, costs, settings)
            damage = yield from _as_progress(measuring)
        made = plan.measured(damage, spec, costs)
    parameters = forecast.layer_parameters(inputs.checkpoint, costs, made)
    return PruningPlan(made, parameters, variances, damage)


def _as_progress(
    measuring: Generator[tuple[int, int], None, Damage],
) -> Generator[Event, None, Damage]:
    while True:
        try:
            yield _surveyed(*next(measuring))
        except StopIteration as finished:
            found: Damage = finished.value
            return found


def _surveyed(done: int, total: int) -> Progress:
    return Progress(stage="plan", done=done, total=total, what=SURVEY)
