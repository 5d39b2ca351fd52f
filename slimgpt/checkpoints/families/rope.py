"""Rotary position settings in a published config, in transformers 5 and 4.57 syntax.

Without its own keys, transformers 4.57 silently computes other positions. Imports neither torch nor
transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slimgpt.checkpoints.families.family import Family, RopeKeys

DEFAULT_THETA = 10000.0  # of all supported families but Gemma 3, in every version of transformers
FULL, SLIDING = "full_attention", "sliding_attention"
FULL_THETA = 1_000_000.0  # of Gemma 3's layers with full attention


def written(parent: Mapping[str, Any], family: Family) -> dict[str, Any]:
    """Rotary position settings of the parent's config, in the syntax of both versions.

    If a config has both, transformers 5 prefers a `rope_scaling` that is not null.
    """
    keys = family.rope
    if keys.kind == "none":
        return {}
    if keys.kind == "by layer type":
        return _by_layer_type(parent, keys)
    given = dict(parent.get("rope_scaling") or parent.get("rope_parameters") or {})
    parameters = _parameters(given, parent.get(keys.theta) or DEFAULT_THETA)
    found = {keys.theta: parameters["rope_theta"], "rope_scaling": _scaling(parameters)}
    if keys.partial:
        partial = parameters.get("partial_rotary_factor", parent.get(keys.partial))
        if partial is not None:
            parameters["partial_rotary_factor"] = found[keys.partial] = partial
    return {"rope_parameters": parameters, **found}


def _by_layer_type(parent: Mapping[str, Any], keys: RopeKeys) -> dict[str, Any]:
    given = parent.get("rope_parameters") or {}
    if FULL in given or SLIDING in given:
        full, sliding = dict(given.get(FULL) or {}), dict(given.get(SLIDING) or {})
    else:
        full, sliding = dict(parent.get("rope_scaling") or given), {}
    assert keys.local is not None
    full = _parameters(full, parent.get(keys.theta) or FULL_THETA)
    sliding = _parameters(sliding, parent.get(keys.local) or DEFAULT_THETA)
    return {
        "rope_parameters": {FULL: full, SLIDING: sliding},
        keys.theta: full["rope_theta"],
        keys.local: sliding["rope_theta"],
        "rope_scaling": _scaling(full),
    }


def _parameters(given: dict[str, Any], theta: float) -> dict[str, Any]:
    """The settings with the keys of transformers 5."""
    theta = given.pop("rope_theta", None) or theta
    kind = given.pop("rope_type", None) or given.pop("type", None) or "default"
    given.pop("type", None)
    return {"rope_type": kind, "rope_theta": theta, **given}


def _scaling(parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """The value of `rope_scaling` in transformers 4.57."""
    if parameters["rope_type"] == "default":
        return None
    outside = ("rope_theta", "partial_rotary_factor")
    return {key: value for key, value in parameters.items() if key not in outside}
