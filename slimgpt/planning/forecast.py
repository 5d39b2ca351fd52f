"""Forecast of a job's model sizes and memory, from tensor headers alone."""

from __future__ import annotations

from dataclasses import dataclass

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.errors import SpecError
from slimgpt.planning import costs, plan
from slimgpt.planning.costs import Costs
from slimgpt.planning.damage import Damage
from slimgpt.planning.plan import Plan
from slimgpt.spec.prune import PruneSpec

FLOAT = 4  # bytes of a float32
BATCH_TOKENS = 4096  # a batch of activations
LOGIT_TOKENS = 1024  # a batch of logits
PROBES, PROBE_TOKENS = 8, 128
"""Sequences, and tokens of each, on which schedule `measured` compares outputs."""
MEASURED = (1 / 8, 1 / 2)
"""Schedule `measured` measures losses at the levels nearest to these shares of a module's removable
parameters."""
FEW_LAYERS = 12
"""Up to so many layers differ too much from their neighbours for losses to be interpolated."""


@dataclass(frozen=True)
class Forecast:
    """A plan with its sizes and memory estimates.

    Attributes:
        plan: sizes of all layers and parameter counts.
        layer_parameters: parameter counts of every layer, (before, after).
        bytes_before, bytes_after: size of the weights on disk.
        peak_memory_bytes: estimate for a GPU, without the CUDA context: the largest layer twice,
            its Hessian with inverse and workspace, and one batch of activations; or, if larger, the
            output head with one batch of logits. On a CPU Hessians are float64, twice the size.
        activation_bytes: size of the activation cache, on a GPU that has four times as much free,
            else in host memory.
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
    """The costs of the checkpoint's removal units.

    Raises:
        SpecError: the specification does not fit the architecture.
    """
    if checkpoint.architecture.experts:
        _check_experts(spec)
    width, count = checkpoint.bytes / checkpoint.parameters, checkpoint.parameters
    made = costs.of(checkpoint.architecture, checkpoint.config, count, spec.head_unit, width)
    return made if spec.tensor_parallel == 1 else made.for_tensor_parallel(spec.tensor_parallel)


def _check_experts(spec: PruneSpec) -> None:
    """Refuse a method or a recovery that does not support experts."""
    if spec.method == "flap":
        raise SpecError(
            "method `flap` scores one FFN per layer, but this model has experts",
            hint="use method slimgpt, wanda-sp or magnitude",
        )
    if spec.recovery is not None:
        raise SpecError(
            "recovery: adapters cannot train this model's experts, which are one tensor per layer",
            hint="leave recovery out",
        )


def make(checkpoint: Checkpoint, spec: PruneSpec, damage: Damage | None = None) -> Forecast:
    """Plan a job on a checkpoint; reads headers only.

    Args:
        damage: the model's curves, for the exact plan of schedule `measured`.

    Raises:
        UnreachableTargetError, SpecError: as `costs_of`, `plan.make` and `plan.measured`.
    """
    costs = costs_of(checkpoint, spec)
    made = plan.make(spec, costs) if damage is None else plan.measured(damage, spec, costs)
    layers = layer_parameters(checkpoint, costs, made)
    width = checkpoint.bytes / checkpoint.parameters
    largest = max(before for before, _ in layers)
    calibration, hidden = spec.calibration, checkpoint.architecture.hidden
    pruning = largest * width * 2 + _pruning_bytes(checkpoint, calibration.sequence_length, width)
    return Forecast(
        plan=made,
        layer_parameters=layers,
        bytes_before=checkpoint.bytes,
        bytes_after=round(made.parameters_after * width),
        peak_memory_bytes=round(max(pruning, _evaluation_bytes(checkpoint, spec, width))),
        activation_bytes=round(_cached_tokens(spec, costs) * hidden * width),
        provisional=damage is None and spec.schedule.shape in ("global", "measured"),
    )


def measured_layers(costs: Costs) -> dict[str, set[int]]:
    """The layers whose attention is measured in the survey, and those whose FFN is.

    All of up to `FEW_LAYERS` that can be pruned; of more every second and the last, and the losses
    of the others are interpolated.
    """
    prunable: dict[str, list[int]] = {"attention": [], "ffn": []}
    for index, layer in enumerate(costs.layers):
        if len(layer.attention_levels()) > 1:
            prunable["attention"].append(index)
        if layer.least_width(costs.least_multiple) < layer.size.channels:
            prunable["ffn"].append(index)
    return {
        kind: {*layers} if len(layers) <= FEW_LAYERS else {*layers[::2], layers[-1]}
        for kind, layers in prunable.items()
    }


def _cached_tokens(spec: PruneSpec, costs: Costs) -> int:
    """Tokens whose residual streams are in host memory at once.

    Pruning has one stream, or two with a residual target; schedule `measured` one and its probes.
    """
    tokens = spec.calibration.samples * spec.calibration.sequence_length
    pruning = tokens * (2 if spec.residual_target else 1)
    if spec.schedule.shape != "measured":
        return pruning
    probes = min(PROBES, spec.calibration.samples) * min(
        PROBE_TOKENS, spec.calibration.sequence_length
    )
    modules = sum(map(len, measured_layers(costs).values()))
    return max(pruning, tokens + modules * len(MEASURED) * probes)


def _pruning_bytes(checkpoint: Checkpoint, sequence_length: int, width: float) -> float:
    """Bytes of the largest Hessian with inverse and workspace, and of one batch of activations."""
    architecture = checkpoint.architecture
    hidden = architecture.hidden
    widest = max(hidden, *(size.channels for size in architecture.sizes))
    batch = max(BATCH_TOKENS, sequence_length) * (widest * 3 + hidden * 4)
    others = (
        max(0, architecture.experts - 1) * max(size.channels for size in architecture.sizes) ** 2
    )
    return (4 * widest**2 + 3 * widest * hidden + others) * FLOAT + batch * width


def _evaluation_bytes(checkpoint: Checkpoint, spec: PruneSpec, width: float) -> float:
    """Bytes of the output head and a batch of logits: in checkpoint dtype, float32, log-softmax."""
    vocabulary = checkpoint.architecture.vocabulary
    tokens = max(LOGIT_TOKENS, *spec.evaluation.sequence_lengths)
    head = vocabulary * checkpoint.architecture.hidden * width
    return head + tokens * vocabulary * (width + 2 * FLOAT)


def layer_parameters(
    checkpoint: Checkpoint, costs: Costs, made: Plan
) -> tuple[tuple[int, int], ...]:
    """Parameter counts of every layer, (before, after)."""
    rows = []
    for index, (layer, size) in enumerate(zip(costs.layers, made.after, strict=True)):
        names = checkpoint.layer_names(index)
        before = sum(checkpoint.tensors[name].count for name in names)
        rows.append((before, before - layer.removed(size)))
    return tuple(rows)
