"""A model folder whose weights take no room: what reads headers takes it for a whole one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slimgpt.checkpoints import config_only
from slimgpt.checkpoints.location import Location
from slimgpt.checkpoints.safetensors_header import CODES


def write(folder: Path, config: Mapping[str, Any]) -> Path:
    """Write `config.json`, and a `model.safetensors` that is all hole after its header."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    end, header = 0, dict[str, object]()
    for name, info in config_only.of(Location.of(folder)).tensors.items():
        start, end = end, end + info.bytes
        header[name] = {
            "dtype": CODES[info.dtype],
            "shape": info.shape,
            "data_offsets": [start, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return folder
