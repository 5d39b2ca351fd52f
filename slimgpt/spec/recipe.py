"""Pruning methods, their default schedules, and recipes.

Imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from slimgpt.spec.schedule import ScheduleShape

Method = Literal["slimgpt", "magnitude", "wanda-sp", "flap"]
HeadScore = Literal["diagonal", "grouped_cholesky", "exact"]
HeadUnit = Literal["kv_group", "query_head", "mixed"]
Recipe = Literal["paper", "measured"]

DEFAULT_RECIPE: Recipe = "measured"
"""Of method `slimgpt`, unless a schedule or layers of equal size are requested."""

DEFAULT_SHAPES: dict[str, ScheduleShape] = {
    "slimgpt": "log",
    "magnitude": "uniform",
    "wanda-sp": "uniform",
    "flap": "global",
}

RECIPES: dict[str, dict[str, Any]] = {
    "paper": {
        "schedule": {"shape": "log"},
        "head_score": "grouped_cholesky",
        "head_unit": "kv_group",
        "residual_target": 0.0,
    },
    "measured": {
        "schedule": {"shape": "measured"},
        "head_score": "exact",
        "head_unit": "mixed",
        "residual_target": 0.5,
    },
}
"""The fields that a recipe sets, unless the specification sets them."""


def completed(fields: dict[str, Any]) -> dict[str, Any]:
    """A specification with its recipe's settings, or its method's schedule, where it sets none.

    Args:
        fields: not validated yet; those of a wrong type are left as they are.
    """
    method, formats = fields.get("method", "slimgpt"), fields.get("formats")
    alike = isinstance(formats, list | tuple | set) and "uniform" in formats
    recipe = fields.get("recipe")
    if recipe is None and fields.get("schedule") is None and method == "slimgpt" and not alike:
        recipe = DEFAULT_RECIPE
        fields = {**fields, "recipe": recipe}
    if isinstance(recipe, str) and recipe in RECIPES:
        fields = RECIPES[recipe] | {key: one for key, one in fields.items() if one is not None}
    if fields.get("schedule") is not None:
        return fields
    shape = DEFAULT_SHAPES.get(method, "log") if isinstance(method, str) else "log"
    return {**fields, "schedule": {"shape": "uniform" if alike else shape}}


def in_words(fields: Mapping[str, Any]) -> str:
    """What tells jobs by different means apart: `slimgpt, recipe measured`, `flap, schedule log`.

    The method, its recipe, and the schedule where it is not the recipe's, or the method's own.

    Args:
        fields: of a specification, perhaps of another version.
    """
    method, recipe = str(fields.get("method", "slimgpt")), fields.get("recipe")
    schedule = fields.get("schedule")
    shape = schedule.get("shape") if isinstance(schedule, Mapping) else None
    usual: object = DEFAULT_SHAPES.get(method)
    if recipe is not None:
        usual = RECIPES.get(str(recipe), {}).get("schedule", {}).get("shape")
    words = [method, *([] if recipe is None else [f"recipe {recipe}"])]
    return ", ".join(words + ([] if shape in (None, usual) else [f"schedule {shape}"]))
