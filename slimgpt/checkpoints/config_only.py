"""A checkpoint from its `config.json` only: tensor names and shapes without data.

A plan needs no more. Imports neither torch nor transformers.
"""

from __future__ import annotations

from dataclasses import replace

from slimgpt.checkpoints import name_mapping
from slimgpt.checkpoints.checkpoint import CONFIG, PICKLES, Checkpoint, config_of
from slimgpt.checkpoints.families import architecture as architectures
from slimgpt.checkpoints.families import layout
from slimgpt.checkpoints.location import Location
from slimgpt.checkpoints.safetensors_header import FORMATS, TensorInfo
from slimgpt.errors import UnsupportedModelError

WEIGHTS = (".safetensors", ".safetensors.index.json", ".gguf", ".h5", ".msgpack", *PICKLES)


def alone(location: Location) -> bool:
    """Whether a folder has a config and no weight files of any kind, nor their index."""
    names = [entry.name for entry in location.folder.iterdir()]
    return CONFIG in names and not any(name.endswith(WEIGHTS) for name in names)


def of(location: Location) -> Checkpoint:
    """The checkpoint that the config describes; its tensors cannot be loaded.

    Raises:
        UnsupportedModelError: unsupported family or dtype, or quantised.
        BrokenCheckpointError: the config is invalid.
    """
    config = name_mapping.config(config_of(location))
    read = architectures.read(config)
    dtype = read.dtype.removeprefix("torch.")
    known = [name for name, _ in FORMATS.values()]
    if dtype not in known:
        raise UnsupportedModelError(
            f"{CONFIG}: dtype {dtype} is not supported",
            hint=f"prune a checkpoint in {', '.join(known)}, and quantise the result",
        )
    file = location.file(CONFIG)
    shapes = layout.whole(read, config)
    tensors = {name: TensorInfo(name, shape, dtype, file, 0) for name, shape in shapes.items()}
    return Checkpoint(location, config, replace(read, dtype=dtype), tensors)
