"""Plan without a run: per-layer sizes, memory and formats as one document (`slimgpt plan`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from slimgpt.checkpoints import config_only
from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.location import Location
from slimgpt.checkpoints.teacher import require_vocabulary
from slimgpt.errors import SlimGPTError, UnsupportedModelError
from slimgpt.formats import support
from slimgpt.planning import forecast, token_costs
from slimgpt.planning.damage import Damage
from slimgpt.planning.document import PlanPreview, planned_layer, planned_point
from slimgpt.planning.forecast import Forecast
from slimgpt.sources.hub_errors import is_offline
from slimgpt.sources.resolve import cached_snapshot, resolve_model
from slimgpt.sources.roots import PREFIX, Roots
from slimgpt.spec.planned_sizes import FormatSupport, PlannedLayer, PlannedPoint
from slimgpt.spec.prune import PruneSpec

UNPADDED = frozenset({"falcon", "gpt2", "gpt_neox"})
"""Families whose embedding has no padding index."""


def plan_preview(
    spec: PruneSpec,
    roots: Roots,
    check: Callable[[Checkpoint], None] | None = None,
    damage: Damage | None = None,
) -> PlanPreview:
    """Plan a job; reads headers only.

    A local folder with `config.json` but without weights is planned from the config. Offline, so is
    a hub model of which the cache contains the config only.

    Args:
        check: a further check of the model, such as `verification.sanity.build`, which needs torch.
        damage: the curves published by a job with schedule `measured`.

    Raises:
        SlimGPTError: the model cannot be opened or pruned, a local teacher not taken, or the target
            not reached.
    """
    checkpoint, bare = _opened(spec.model, roots)
    without_weights = [spec.model] if bare else []
    _check_padding(checkpoint)
    without_weights += _check_teacher(spec, checkpoint, roots)
    if check is not None:
        check(checkpoint)
    positions = checkpoint.config.get(checkpoint.architecture.family.keys.positions)
    points = [(point.ratio, forecast.make(checkpoint, point, damage)) for point in spec.points]
    made = min((one for _, one in points), key=lambda one: one.plan.parameters_after)
    models = [support.sized(checkpoint.architecture, one.plan.after) for _, one in points]
    formats = support.all_of(models, checkpoint.config)
    return PlanPreview(
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
        points=_points(spec, points),
        formats=formats,
        loaders=support.loaders(support.sized(checkpoint.architecture, made.plan.after)),
        token_costs=token_costs.of(checkpoint, made.plan.after),
        warnings=[_no_weights(model) for model in without_weights]
        + _too_long(spec, positions)
        + _unsupported_formats(spec, formats),
        without_weights=without_weights,
    )


def _points(
    spec: PruneSpec, planned: Sequence[tuple[float | None, Forecast]]
) -> list[PlannedPoint]:
    """The models of a sweep, by their ratios; none of a job with one model."""
    return [
        planned_point(ratio, one.plan, one.bytes_after)
        for ratio, one in planned
        if ratio is not None and spec.ratios
    ]


def _layers(made: Forecast) -> list[PlannedLayer]:
    return [
        planned_layer(made.plan, index, parameters)
        for index, parameters in enumerate(made.layer_parameters)
    ]


def _opened(model: str, roots: Roots) -> tuple[Checkpoint, bool]:
    """The model, or one made from its config; and whether that is because its folder has no
    weights.
    """
    within = roots.within(model)
    if model.startswith(PREFIX):
        location = Location.of(roots.model(model), within)
        if config_only.alone(location):
            return config_only.of(location), True
    elif is_offline() and (snapshot := cached_snapshot(model)) is not None:
        location = Location.of(snapshot)
        if config_only.alone(location):
            return config_only.of(location), False
    return Checkpoint.open(resolve_model(model, roots).folder, within=within), False


def _check_teacher(spec: PruneSpec, student: Checkpoint, roots: Roots) -> list[str]:
    """Refuse a local teacher that cannot teach; only a job looks for one on the hub.

    Returns:
        its name, if its folder has no weights.
    """
    name = None if spec.recovery is None else spec.recovery.teacher
    if name is None or not name.startswith(PREFIX):
        return []
    try:
        teacher, bare = _opened(name, roots)
    except SlimGPTError as error:
        error.message = f"recovery.teacher: {error.message}"
        raise
    require_vocabulary(teacher, student, name)
    return [name] if bare else []


def _no_weights(model: str) -> str:
    return (
        f"{model} has no weights: planned from its config.json alone; a job on it is refused; put "
        "its safetensors files beside its config.json"
    )


def _check_padding(checkpoint: Checkpoint) -> None:
    """Refuse a padding id outside the vocabulary, with which transformers cannot load the model."""
    architecture, padding = checkpoint.architecture, checkpoint.config.get("pad_token_id")
    if architecture.family.model_type in UNPADDED or not isinstance(padding, int):
        return
    if not -architecture.vocabulary <= padding < architecture.vocabulary:
        raise UnsupportedModelError(
            f"config.json: pad_token_id is {padding}, and the embedding has "
            f"{architecture.vocabulary} rows (vocab_size): transformers cannot build the model",
            hint="set pad_token_id to null, or to a token that the model has",
        )


def _too_long(spec: PruneSpec, positions: Any) -> list[str]:
    """Warnings for sequences longer than the model's context, if the config states its length."""
    if not isinstance(positions, int):
        return []
    return [
        f"{place[1:].replace('/', '.')}: {length:,} tokens are more than the model's "
        f"{positions:,} positions (max_position_embeddings); a job with them fails; "
        f"choose at most {positions:,}"
        for place, length in spec.sequence_lengths.items()
        if length > positions
    ]


def _unsupported_formats(spec: PruneSpec, formats: Sequence[FormatSupport]) -> list[str]:
    """Warnings for requested formats that cannot be written."""
    out = [one for one in formats if one.format in spec.formats and not one.possible]
    return [
        f"formats: `{one.format}` cannot hold this model: {one.reason}; a job with it fails; "
        f"{support.HINTS[one.format]}"
        for one in out
    ]
