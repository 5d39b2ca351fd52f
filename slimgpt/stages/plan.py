"""The `plan` stage: how much every layer keeps, decided before any layer is pruned."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch

from slimgpt.events import Event, Progress
from slimgpt.layers import dense_pass
from slimgpt.layers.sequence import DenseVariances
from slimgpt.layers.stack import Stack
from slimgpt.methods import registry as methods
from slimgpt.planning import forecast, plan
from slimgpt.planning.plan import Plan
from slimgpt.spec.prune import PruneSpec
from slimgpt.stages.resolve import Intake


@dataclass(frozen=True)
class Decided:
    """The plan, and what the survey of the dense model gave for methods that need one."""

    plan: Plan
    variances: tuple[DenseVariances, ...] | None
    layer_parameters: tuple[tuple[int, int], ...]


def decide(
    spec: PruneSpec, intake: Intake, device: torch.device
) -> Generator[Event, None, Decided]:
    """Make the plan; survey the dense model first where the method chooses by scores.

    Raises:
        UnreachableTargetError, SpecError: no legal plan meets the target.
    """
    costs = forecast.costs_of(intake.checkpoint, spec)
    made = plan.make(spec, costs)
    variances = None
    if spec.method in methods.SURVEYING:
        surveyed = []
        stack = Stack(intake.checkpoint, device)
        for layer in dense_pass.dense_pass(stack, intake.calibration.input_ids, costs):
            surveyed.append(layer)
            done, total = len(surveyed), len(costs.layers)
            yield Progress(stage="plan", done=done, total=total, what="survey of the dense model")
        variances = tuple(layer.variances for layer in surveyed)
        if spec.schedule.shape == "global":
            made = plan.fit(dense_pass.wishes(surveyed, costs), spec, costs)
    return Decided(made, variances, forecast.layer_parameters(intake.checkpoint, made, spec))
