"""The `prune` stage: prunes layer by layer and writes each finished layer to disk."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from typing import Any

import torch

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.checkpoints.output.partial import PartialCheckpoint
from slimgpt.errors import ResumeError
from slimgpt.events import Event, LayerFinished, Warned
from slimgpt.layers.layer_pruning import PrunedLayer
from slimgpt.layers.residual_target import DenseStream
from slimgpt.layers.sequence import prune_layer
from slimgpt.layers.stack import Stack
from slimgpt.methods import registry as methods
from slimgpt.planning.document import planned_layer
from slimgpt.planning.plan import Plan
from slimgpt.spec.prune import PruneSpec
from slimgpt.stages.plan import PruningPlan
from slimgpt.stages.resolve import JobInputs


@torch.no_grad()
def prune(
    spec: PruneSpec,
    inputs: JobInputs,
    pruning_plan: PruningPlan,
    partial: PartialCheckpoint,
    device: torch.device,
) -> Generator[Event, None, list[dict[str, Any]]]:
    """Prune every layer that is not on disk yet; each is on disk before its event is yielded.

    Returns:
        the records of all layers: the event's fields, and the kept indices.

    Raises:
        NumericalError: a layer cannot be solved; finished layers stay for a resume.
        ResumeError: the finished layers are of other sizes than the plan's.
    """
    records: list[dict[str, Any]] = list(partial.finished())
    _check_planned_so(records, pruning_plan.plan, partial)
    dense = Stack(inputs.checkpoint, device)
    done = pruned_stack(inputs.checkpoint, pruning_plan.plan, partial, device)
    batches = dense.embed(inputs.calibration.input_ids)
    beside = DenseStream([*batches], spec.residual_target) if spec.residual_target else None
    method = methods.of(spec)
    for index, target in enumerate(pruning_plan.plan.after):
        if index < len(records):
            done.advance(index, done.layer(index).forward, batches)
            if beside is not None:
                dense.advance(index, dense.layer(index).forward, beside.batches)
            event = LayerFinished.model_validate({**records[index], "resumed": True})
            yield event
            yield from _remarks(event, records[index], spec.damping)
            continue
        began = time.monotonic()
        variances = pruning_plan.variances[index] if pruning_plan.variances else None
        layer = prune_layer(dense, index, target, batches, method, variances, beside)
        event = _event(index, pruning_plan, layer, time.monotonic() - began)
        record = event.model_dump(exclude={"point", "points"}) | _kept(layer)
        partial.write_layer(index, layer.tensors, record)
        records.append(record)
        yield event
        yield from _remarks(event, record, spec.damping)
    return records


def _check_planned_so(
    records: list[dict[str, Any]], made: Plan, partial: PartialCheckpoint
) -> None:
    """Measured again, elsewhere, damage may differ in rounding, and so the plan."""
    for index, (record, size) in enumerate(zip(records, made.after, strict=False)):
        if LayerSize(record["heads"], record["kv_heads"], record["channels"]) != size:
            raise ResumeError(
                f"{partial.folder}: layer {index} was pruned to other sizes than those planned now",
                hint="remove the working folder, or choose another",
            )


def pruned_stack(
    checkpoint: Checkpoint, made: Plan, partial: PartialCheckpoint, device: torch.device
) -> Stack:
    """The pruned model, its layers read back from the disk."""
    return Stack(
        checkpoint,
        device,
        sizes=made.after,
        read_layer=lambda index: partial.layer(index, device=str(device)),
    )


def _event(
    index: int, pruning_plan: PruningPlan, layer: PrunedLayer, seconds: float
) -> LayerFinished:
    preview = planned_layer(pruning_plan.plan, index, pruning_plan.layer_parameters[index])
    return LayerFinished(
        **preview.model_dump(),
        layers_total=len(pruning_plan.plan.after),
        attention_error=layer.attention_error,
        ffn_error=layer.ffn_error,
        attention_damping=layer.attention_damping,
        ffn_damping=layer.ffn_damping,
        seconds=seconds,
    )


def _remarks(layer: LayerFinished, record: dict[str, Any], asked: float) -> Iterator[Warned]:
    """Warn of factorisations that needed more damping than requested, and of experts that no
    calibration token reached.
    """
    if unseen := record.get("unseen_experts"):
        message = (
            f"no calibration token reached {len(unseen)} of the layer's experts: their channels "
            "were chosen by weights alone, without compensation; use more calibration text"
        )
        yield Warned(message=message, layer=layer.layer)
    for part, used in (("attention", layer.attention_damping), ("FFN", layer.ffn_damping)):
        if used > asked:
            message = f"{part}: the Hessian needed damping {used:g}, {asked:g} was requested"
            yield Warned(message=message, layer=layer.layer)


def _kept(layer: PrunedLayer) -> dict[str, Any]:
    return {
        "kept_heads": layer.heads,
        "kept_kv_heads": layer.kv_heads,
        "kept_channels": layer.channels,
    } | ({"unseen_experts": list(layer.unseen_experts)} if layer.unseen_experts else {})
