"""What a list shows of a plan or a result, as columns that it is sorted by."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any


def listed_model(result: Mapping[str, Any]) -> dict[str, Any]:
    """The model whose size a result has, of a sweep the smallest.

    Args:
        result: the engine's `Result` event.

    Returns:
        `perplexity` on the first text, None if it is not known, and which one is `published`.
    """
    points = [point for point in result.get("points") or () if isinstance(point, dict)]
    for point in points:
        if point.get("parameters_after") == result.get("parameters_after"):
            return point
    first = None if points else next(iter(result.get("perplexity") or ()), None)
    return {"perplexity": first, "published": result.get("published")}


def sort_values(told: Mapping[str, Any]) -> dict[str, float]:
    """The columns that a list is sorted by, as far as a plan or a result tells them.

    Args:
        told: the engine's `Planned` or `Result` event.
    """
    model = listed_model(told)
    measured = model.get("perplexity")
    measured = measured if isinstance(measured, dict) else {}
    published = _number(measured.get(str(model.get("published"))))
    found = {
        "sort_ratio": _number(told.get("ratio_achieved")),
        "sort_parameters": _number(told.get("parameters_after")),
        "sort_perplexity": _number(measured.get("pruned")) if published is None else published,
    }
    return {name: value for name, value in found.items() if value is not None}


def _number(value: Any) -> float | None:
    """A number as the database compares it; None if it is none, or beyond all floats."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if -sys.float_info.max <= value <= sys.float_info.max else None
