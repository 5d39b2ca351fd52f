"""Pruning methods, their default schedules, and recipes.

Imports neither torch nor transformers.
"""

from __future__ import annotations

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
