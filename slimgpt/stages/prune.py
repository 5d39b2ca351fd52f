"""The `prune` stage: prunes layer by layer and writes each finished layer to disk."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.checkpoints.output.partial import PartialCheckpoint
from slimgpt.errors import ResumeError
from slimgpt.events import Event, LayerFinished, Warned
from slimgpt.layers.layer_pruning import PrunedLayer
from slimgpt.layers.residual_target import DenseStream
from slimgpt.layers.sequence import advance_finished, prune_layer
from slimgpt.layers.stack import StoredModel
from slimgpt.machine.ranks import Ranks
from slimgpt.methods import registry as methods
from slimgpt.planning.document import planned_layer
from slimgpt.planning.plan import Plan
from slimgpt.spec.prune import PruneSpec
from slimgpt.stages.plan import PruningPlan
from slimgpt.stages.resolve import JobInputs


def prune(
    spec: PruneSpec,
    inputs: JobInputs,
    pruning_plan: PruningPlan,
    partial: PartialCheckpoint,
    ranks: Ranks,
) -> Generator[Event, None, list[dict[str, Any]]]:
    """Prune every layer that is not on disk yet; each is on disk before its event is yielded.

    Returns:
        the records of all layers: the event's fields, and the kept indices.

    Raises:
        NumericalError: a layer cannot be solved; finished layers stay for a resume.
        RankError: a device is lost; finished layers stay for a resume.
        ResumeError: the finished layers are of other sizes than the plan's.
    """
    records: list[dict[str, Any]] = list(partial.finished())
    _check_planned_so(records, pruning_plan.plan, partial)
    work = _Work(spec, inputs.checkpoint, inputs.calibration.input_ids, pruning_plan, partial)
    earlier = [*records]
    for index, made in enumerate(ranks.together(_layers, work, earlier)):
        if made is None:
            event = LayerFinished.model_validate({**records[index], "resumed": True})
        else:
            layer, seconds = made
            event = _event(index, pruning_plan, layer, seconds)
            record = event.model_dump(exclude={"point", "points"}) | _kept(layer)
            partial.write_layer(index, layer.tensors, record)
            records.append(record)
        yield event
        yield from _remarks(event, records[index], spec.damping)
    return records


@dataclass(frozen=True)
class _Work:
    """What a rank must know to prune."""

    spec: PruneSpec
    checkpoint: Checkpoint
    token_ids: Tensor
    pruning_plan: PruningPlan
    partial: PartialCheckpoint


@torch.no_grad()
def _layers(
    ranks: Ranks, work: _Work, records: list[dict[str, Any]]
) -> Generator[tuple[PrunedLayer, float] | None, None, None]:
    """The layers in their order, and the seconds that each took; None for one that is on disk.

    Args:
        records: of those.
    """
    spec, pruning_plan = work.spec, work.pruning_plan
    dense = StoredModel(work.checkpoint).stack(ranks)
    batches = dense.embed(dense.share(work.token_ids))
    beside = DenseStream([*batches], spec.residual_target) if spec.residual_target else None
    method = methods.of(spec)
    for index, target in enumerate(pruning_plan.plan.after):
        if index < len(records):
            layer = _earlier(work.partial.layer(index, str(ranks.device)), records[index])
            advance_finished(dense, index, layer, target, batches, refitted=beside is not None)
            if beside is not None:
                dense.advance(index, dense.layer(index).forward, beside.batches)
            yield None
            continue
        began = time.monotonic()
        variances = pruning_plan.variances[index] if pruning_plan.variances else None
        layer = prune_layer(dense, index, target, batches, method, variances, beside)
        yield layer, time.monotonic() - began


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


def pruned_model(checkpoint: Checkpoint, made: Plan, partial: PartialCheckpoint) -> StoredModel:
    """The pruned model, its layers read back from the disk."""
    return StoredModel(checkpoint, made.after, partial)


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


def _earlier(tensors: dict[str, Tensor], record: dict[str, Any]) -> PrunedLayer:
    """A layer that is on disk."""
    kept = (record[name] for name in ("kept_heads", "kept_kv_heads", "kept_channels"))
    return PrunedLayer(tensors, *kept)


def _kept(layer: PrunedLayer) -> dict[str, Any]:
    return {
        "kept_heads": layer.heads,
        "kept_kv_heads": layer.kv_heads,
        "kept_channels": layer.channels,
    } | ({"unseen_experts": list(layer.unseen_experts)} if layer.unseen_experts else {})
