"""The plan of a job as one document: what would be left of every layer, and what it costs."""

from __future__ import annotations

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.config import PruneSpec
from slimgpt.events import LayerOutlook, Outlook
from slimgpt.origins.resolve import resolve_model
from slimgpt.origins.roots import PREFIX, Roots
from slimgpt.planning import forecast
from slimgpt.planning.forecast import Forecast


def look_ahead(spec: PruneSpec, roots: Roots) -> Outlook:
    """Plan a job; reads headers only and imports no torch.

    Raises:
        SlimGPTError: the model cannot be had or pruned, or not so far.
    """
    model = resolve_model(spec.model, roots, None)
    confined = roots.confined and spec.model.startswith(PREFIX)
    checkpoint = Checkpoint.open(model.folder, within=roots.models if confined else None)
    made = forecast.make(checkpoint, spec)
    return Outlook(
        parameters_before=made.plan.parameters_before,
        parameters_after=made.plan.parameters_after,
        ratio_achieved=made.plan.ratio_achieved,
        channel_multiple=made.plan.channel_multiple,
        bytes_before=made.bytes_before,
        bytes_after=made.bytes_after,
        peak_memory_bytes=made.peak_memory_bytes,
        activation_bytes=made.activation_bytes,
        provisional=made.provisional,
        layers=_layers(made),
    )


def _layers(made: Forecast) -> list[LayerOutlook]:
    rows = zip(made.plan.before, made.plan.after, made.layer_parameters, strict=True)
    return [
        LayerOutlook(
            layer=index,
            heads_before=before.heads,
            heads=after.heads,
            kv_heads_before=before.kv_heads,
            kv_heads=after.kv_heads,
            channels_before=before.channels,
            channels=after.channels,
            parameters_before=parameters_before,
            parameters=parameters,
        )
        for index, (before, after, (parameters_before, parameters)) in enumerate(rows)
    ]
