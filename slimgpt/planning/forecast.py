"""Forecast of a job's sizes, memory and activations, from tensor headers alone."""

from __future__ import annotations

from dataclasses import dataclass

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.errors import SpecError
from slimgpt.planning import costs, plan
from slimgpt.planning.costs import Costs
from slimgpt.planning.damage import Damage
from slimgpt.planning.plan import Plan
from slimgpt.spec.prune import PruneSpec

FLOAT = 4
BATCH_TOKENS = 4096  # a batch of activations
LOGIT_TOKENS = 1024  # a batch of logits
PROBES, PROBE_TOKENS = 8, 128
"""Of schedule `measured`: sequences, and tokens of each, on which the output is compared."""
MEASURED = (1 / 8, 1 / 2)
"""Shares of what a module can lose at which the loss is measured; the nearest levels count."""


@dataclass(frozen=True)
class Forecast:
    """A plan with its sizes and memory estimates.

    Attributes:
        plan: sizes of all layers and parameter counts.
        layer_parameters: of every layer, (before, after).
        bytes_before, bytes_after: size of the weights on disk.
        peak_memory_bytes: estimate for a GPU, without the runtime itself: the largest layer twice,
            its Hessian with inverse and work space, and one batch of activations; or, if larger,
            the output head with one batch of logits. On a CPU Hessians are float64, twice the size.
        activation_bytes: size of the activation cache, in host memory.
        provisional: the layers' ratios are decided during the run (schedules `global`, `measured`).
    """

    plan: Plan
    layer_parameters: tuple[tuple[int, int], ...]
    bytes_before: int
    bytes_after: int
    peak_memory_bytes: int
    activation_bytes: int
    provisional: bool


def costs_of(checkpoint: Checkpoint, spec: PruneSpec) -> Costs:
    """The costs of the checkpoint's removal units."""
    if checkpoint.architecture.experts:
        _check_routed(spec)
    width, count = checkpoint.bytes / checkpoint.parameters, checkpoint.parameters
    made = costs.of(checkpoint.architecture, checkpoint.config, count, spec.head_unit, width)
    return made if spec.tensor_parallel == 1 else made.shared_by(spec.tensor_parallel)


def _check_routed(spec: PruneSpec) -> None:
    """Refuse methods and recovery that do not support experts."""
    if spec.method == "flap":
        raise SpecError(
            "method `flap` scores one FFN per layer, but this model has experts",
            hint="use method slimgpt, wanda-sp or magnitude",
        )
    if spec.recovery is not None:
        raise SpecError(
            "recovery: adapters do not reach a mixture's experts, which are one tensor a layer",
            hint="leave recovery out",
        )


def make(checkpoint: Checkpoint, spec: PruneSpec, damage: Damage | None = None) -> Forecast:
    """Plan a job on a checkpoint; reads headers only.

    Args:
        damage: the model's curves, for the exact plan of schedule `measured`.

    Raises:
        UnreachableTargetError, SpecError: as `plan.make` and `plan.measured`.
    """
    costs = costs_of(checkpoint, spec)
    made = plan.make(spec, costs) if damage is None else plan.measured(damage, spec, costs)
    layers = layer_parameters(checkpoint, made, spec)
    width = checkpoint.bytes / checkpoint.parameters
    largest = max(before for before, _ in layers)
    calibration, hidden = spec.calibration, checkpoint.architecture.hidden
    pruning = largest * width * 2 + _solving(checkpoint, calibration.sequence_length, width)
    return Forecast(
        plan=made,
        layer_parameters=layers,
        bytes_before=checkpoint.bytes,
        bytes_after=round(made.parameters_after * width),
        peak_memory_bytes=round(max(pruning, _evaluating(checkpoint, spec, width))),
        activation_bytes=round(_streamed(spec, costs) * hidden * width),
        provisional=damage is None and spec.schedule.shape in ("global", "measured"),
    )


def measured_layers(costs: Costs) -> dict[str, set[int]]:
    """The layers whose attention is measured, and those whose FFN is: every second, and the last,
    of those that can lose something. For the others the losses are interpolated.
    """
    prunable: dict[str, list[int]] = {"attention": [], "ffn": []}
    for index, layer in enumerate(costs.layers):
        if len(layer.attention_levels()) > 1:
            prunable["attention"].append(index)
        if layer.least_width(costs.least_multiple) < layer.size.channels:
            prunable["ffn"].append(index)
    return {kind: {*layers[::2], *layers[-1:]} for kind, layers in prunable.items()}


def _streamed(spec: PruneSpec, costs: Costs) -> int:
    """Tokens of residual streams in host memory: pruning's one or two, or those of the survey."""
    tokens = spec.calibration.samples * spec.calibration.sequence_length
    pruning = tokens * (2 if spec.residual_target else 1)
    if spec.schedule.shape != "measured":
        return pruning
    probes = min(PROBES, spec.calibration.samples) * min(
        PROBE_TOKENS, spec.calibration.sequence_length
    )
    modules = sum(map(len, measured_layers(costs).values()))
    return max(pruning, tokens + modules * len(MEASURED) * probes)


def _solving(checkpoint: Checkpoint, sequence_length: int, width: float) -> float:
    """Bytes of the largest Hessian with inverse and work space, and of one batch of activations."""
    architecture = checkpoint.architecture
    hidden = architecture.hidden
    widest = max(hidden, *(size.channels for size in architecture.sizes))
    batch = max(BATCH_TOKENS, sequence_length) * (widest * 3 + hidden * 4)
    others = (
        max(0, architecture.experts - 1) * max(size.channels for size in architecture.sizes) ** 2
    )
    return (4 * widest**2 + 3 * widest * hidden + others) * FLOAT + batch * width


def _evaluating(checkpoint: Checkpoint, spec: PruneSpec, width: float) -> float:
    """Bytes of the output head and of a batch of logits: stored, in float32, as logarithms."""
    vocabulary = checkpoint.architecture.vocabulary
    tokens = max(LOGIT_TOKENS, *spec.evaluation.sequence_lengths)
    head = vocabulary * checkpoint.architecture.hidden * width
    return head + tokens * vocabulary * (width + 2 * FLOAT)


def layer_parameters(
    checkpoint: Checkpoint, made: Plan, spec: PruneSpec
) -> tuple[tuple[int, int], ...]:
    """Parameters of every layer before and after."""
    pieces = costs_of(checkpoint, spec).layers
    rows = []
    for index, (piece, size) in enumerate(zip(pieces, made.after, strict=True)):
        names = checkpoint.layer_names(index)
        before = sum(checkpoint.tensors[name].count for name in names)
        rows.append((before, before - piece.removed(size)))
    return tuple(rows)
