"""The `plan` stage: heads and channels to keep in each layer, before any pruning."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch

from slimgpt.events import Event, Progress
from slimgpt.layers import dense_pass, sanity
from slimgpt.layers.sequence import DenseVariances
from slimgpt.layers.stack import Stack
from slimgpt.methods import registry as methods
from slimgpt.planning import forecast, plan
from slimgpt.planning.plan import Plan
from slimgpt.spec.prune import PruneSpec
from slimgpt.stages.resolve import JobInputs


@dataclass(frozen=True)
class PruningPlan:
    """The plan, its parameters by layer, and the variances of a dense pass where there was one."""

    plan: Plan
    variances: tuple[DenseVariances, ...] | None
    layer_parameters: tuple[tuple[int, int], ...]


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
    spec: PruneSpec, inputs: JobInputs, device: torch.device
) -> Generator[Event, None, PruningPlan]:
    """Make the plan; survey the dense model first where the method chooses by scores.

    Raises:
        UnreachableTargetError, SpecError: no legal plan meets the target.
    """
    costs = forecast.costs_of(inputs.checkpoint, spec)
    made = plan.make(spec, costs)
    variances = None
    if spec.method in methods.NEED_DENSE_PASS:
        dense_layers = []
        stack = Stack(inputs.checkpoint, device)
        for layer in dense_pass.dense_pass(stack, inputs.calibration.input_ids, costs):
            dense_layers.append(layer)
            done, total = len(dense_layers), len(costs.layers)
            yield Progress(stage="plan", done=done, total=total, what="survey of the dense model")
        variances = tuple(layer.variances for layer in dense_layers)
        if spec.schedule.shape == "global":
            made = plan.fit(dense_pass.global_allocation(dense_layers, costs), spec, costs)
    return PruningPlan(made, variances, forecast.layer_parameters(inputs.checkpoint, made, spec))
