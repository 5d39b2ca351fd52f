"""What a job costs and leaves, said before any weight is read, without torch."""

from __future__ import annotations

from dataclasses import dataclass

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.config import PruneSpec
from slimgpt.planning import costs, plan
from slimgpt.planning.costs import Costs
from slimgpt.planning.plan import Plan

FLOAT = 4
BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Forecast:
    """A plan with its costs.

    Attributes:
        plan: sizes of all layers and parameter counts.
        layer_parameters: of every layer, (before, after).
        bytes_before, bytes_after: of the weights on disk.
        peak_memory_bytes: estimate for the device, beyond what the runtime itself takes: the
            largest layer twice, its Hessian with inverse and work space, one batch of activations.
        activation_bytes: the activation cache, in host memory.
        provisional: the layers' shares are decided during the run (schedule `global`).
    """

    plan: Plan
    layer_parameters: tuple[tuple[int, int], ...]
    bytes_before: int
    bytes_after: int
    peak_memory_bytes: int
    activation_bytes: int
    provisional: bool


def costs_of(checkpoint: Checkpoint, spec: PruneSpec) -> Costs:
    """What the checkpoint's removable pieces cost."""
    shapes = {name: info.shape for name, info in checkpoint.tensors.items()}
    return costs.of(checkpoint.architecture, shapes, checkpoint.parameters, spec.head_unit)


def make(checkpoint: Checkpoint, spec: PruneSpec) -> Forecast:
    """Plan a job on a checkpoint; reads headers only.

    Raises:
        UnreachableTargetError, SpecError: as `plan.make`.
    """
    made = plan.make(spec, costs_of(checkpoint, spec))
    layers = layer_parameters(checkpoint, made, spec)
    width = checkpoint.bytes / checkpoint.parameters
    hidden = checkpoint.architecture.hidden
    widest = max(hidden, *(size.channels for size in made.before))
    largest = max(before for before, _ in layers)
    calibration = spec.calibration
    batch = max(BATCH_TOKENS, calibration.sequence_length) * (widest * 3 + hidden * 4)
    return Forecast(
        plan=made,
        layer_parameters=layers,
        bytes_before=checkpoint.bytes,
        bytes_after=round(made.parameters_after * width),
        peak_memory_bytes=round(
            largest * width * 2 + (4 * widest**2 + 3 * widest * hidden) * FLOAT + batch * width
        ),
        activation_bytes=round(calibration.samples * calibration.sequence_length * hidden * width),
        provisional=spec.schedule.shape == "global",
    )


def layer_parameters(
    checkpoint: Checkpoint, made: Plan, spec: PruneSpec
) -> tuple[tuple[int, int], ...]:
    """Parameters of every layer before and after."""
    pieces = costs_of(checkpoint, spec).layers
    rows = []
    for index, (piece, size) in enumerate(zip(pieces, made.after, strict=True)):
        names = checkpoint.layer_names(index)
        before = sum(checkpoint.tensors[name].count for name in names)
        per_group = piece.size.heads // piece.size.kv_heads
        if spec.head_unit == "kv_group":
            units = piece.size.kv_heads - size.kv_heads
        else:
            units = per_group - size.heads // size.kv_heads
        removed = units * piece.unit + (piece.size.channels - size.channels) * piece.channel
        rows.append((before, before - removed))
    return tuple(rows)
