"""Refuses sequences longer than the model's `max_position_embeddings` at `POST /jobs`.

Only for `local:` models on the API's machine, whose `config.json` is read. Otherwise the engine
checks.
"""

from __future__ import annotations

import json
from pathlib import Path

from api.checks.sources import LOCAL, inside
from api.http.validation import FieldError
from slimgpt.spec.prune import PruneSpec
from slimgpt.texts.json_limits import JsonLimits, require_within

MAX_CONFIG_BYTES = 4 << 20
"""Largest `config.json`; one with sizes for each of a hundred layers has less than 64 KiB."""
CONFIG = JsonLimits(values=50_000, keys=20_000, depth=64, string_bytes=MAX_CONFIG_BYTES)
"""Bounds the time of parsing, which blocks other requests."""


def too_long(spec: PruneSpec, models_root: Path) -> list[FieldError]:
    """Errors for sequence lengths above the model's number of positions.

    Args:
        models_root: folder of `local:NAME` models.
    """
    positions = _positions(spec.model, models_root)
    if positions is None:
        return []
    return [
        FieldError(
            pointer=place,
            message=f"{length:,} tokens are more than the model's {positions:,} positions "
            f"(max_position_embeddings); use at most {positions:,}",
        )
        for place, length in spec.sequence_lengths.items()
        if length > positions
    ]


def _positions(model: str, models_root: Path) -> int | None:
    """The number of positions in the model's `config.json`, if known."""
    if not model.startswith(LOCAL):
        return None
    path = inside(models_root, f"{model.removeprefix(LOCAL)}/config.json")
    if path is None or not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
        require_within(content, CONFIG)
        config = json.loads(content) if len(content) <= MAX_CONFIG_BYTES else None
    except (OSError, ValueError, RecursionError):
        return None
    positions = None
    if isinstance(config, dict):
        positions = config.get("max_position_embeddings", config.get("n_positions"))
    return positions if type(positions) is int and positions > 0 else None
