"""A model folder whose weights take no room: what reads headers takes it for a whole one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slimgpt.checkpoints import config_only, shards
from slimgpt.checkpoints.location import Location


def write(folder: Path, config: Mapping[str, Any]) -> Path:
    """Write `config.json`, and a `model.safetensors` that is all hole after its header."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    tensors = config_only.of(Location.of(folder)).tensors
    with (folder / "model.safetensors").open("wb") as file:
        file.write(shards.header(tensors))
        file.truncate(file.tell() + sum(info.bytes for info in tensors.values()))
    return folder
