"""The `plan` stage: heads and channels to keep in each layer, before any pruning."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from slimgpt.events import Event, Progress
from slimgpt.layers import damage_pass, dense_pass, sanity
from slimgpt.layers.layer_pruning import DenseVariances
from slimgpt.layers.stack import Stack
from slimgpt.methods import registry as methods
from slimgpt.methods.problem import Settings
from slimgpt.planning import forecast, plan
from slimgpt.planning.costs import Costs
from slimgpt.planning.damage import Damage
from slimgpt.planning.plan import Plan
from slimgpt.spec.prune import PruneSpec
from slimgpt.stages.resolve import JobInputs


@dataclass(frozen=True)
class PruningPlan:
    """The plan and its parameters by layer.

    Attributes:
        variances: of a dense pass, for methods that need one.
        damage: of every module, for schedule `measured`.
    """

    plan: Plan
    layer_parameters: tuple[tuple[int, int], ...]
    variances: tuple[DenseVariances, ...] | None = None
    damage: Damage | None = None


PROBE_TOKENS = 128


def try_models(inputs: JobInputs, device: torch.device) -> Generator[Event, None, None]:
    """See that the dense model computes numbers on one sequence, and a distillation's teacher too.

    Raises:
        NumericalError: one gives NaN or infinity.
    """
    probe = inputs.calibration.input_ids[:1, :PROBE_TOKENS].contiguous()
    for model, name in ((inputs.checkpoint, "dense model"), (inputs.teacher, "teacher")):
        if model is None:
            continue
        what, total = f"the {name} on one sequence", model.architecture.layers
        for done in sanity.compute(Stack(model, device), probe):
            yield Progress(stage="plan", done=done, total=total, what=what)


def make_plan(
    spec: PruneSpec, inputs: JobInputs, device: torch.device, damage: Damage | None = None
) -> Generator[Event, None, PruningPlan]:
    """Make the plan; survey the dense model first where the method or the schedule needs it.

    Args:
        damage: of every module, where it was measured before.

    Raises:
        UnreachableTargetError, SpecError: no legal plan meets the target.
    """
    costs = forecast.costs_of(inputs.checkpoint, spec)
    made, variances = plan.make(spec, costs), None
    stack, tokens = Stack(inputs.checkpoint, device), inputs.calibration.input_ids
    if spec.method in methods.NEED_DENSE_PASS:
        dense_layers = []
        for layer in dense_pass.dense_pass(stack, tokens, costs):
            dense_layers.append(layer)
            yield _surveyed(len(dense_layers), len(costs.layers))
        variances = tuple(layer.variances for layer in dense_layers)
        if spec.schedule.shape == "global":
            made = plan.fit(dense_pass.global_allocation(dense_layers, costs), spec, costs)
    if spec.schedule.shape == "measured":
        if damage is None:
            damage = yield from _measured(stack, tokens, costs, methods.settings_of(spec))
        made = plan.measured(damage, spec, costs)
    parameters = forecast.layer_parameters(inputs.checkpoint, made, spec)
    return PruningPlan(made, parameters, variances, damage)


def _measured(
    stack: Stack, token_ids_QS: Tensor, costs: Costs, settings: Settings
) -> Generator[Event, None, Damage]:
    measuring = damage_pass.measure(stack, token_ids_QS, costs, settings)
    while True:
        try:
            yield _surveyed(*next(measuring))
        except StopIteration as finished:
            found: Damage = finished.value
            return found


def _surveyed(done: int, total: int) -> Progress:
    return Progress(stage="plan", done=done, total=total, what="survey of the dense model")
