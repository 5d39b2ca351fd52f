"""A checkpoint known by its `config.json` alone: tensor names and shapes, no data.

Enough for a plan, which asks for sizes only. Imports neither torch nor transformers.
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
    """Whether a folder holds a config, and no file of weights of any kind, nor an index of them."""
    names = [entry.name for entry in location.folder.iterdir()]
    return CONFIG in names and not any(name.endswith(WEIGHTS) for name in names)


def of(location: Location) -> Checkpoint:
    """The checkpoint that the config describes; `load` finds nothing.

    Raises:
        UnsupportedModelError: another family, quantised, or of a precision that is not pruned.
        BrokenCheckpointError: the config is torn.
    """
    config = name_mapping.config(config_of(location))
    read = architectures.read(config)
    dtype = read.dtype.removeprefix("torch.")
    known = [name for name, _ in FORMATS.values()]
    if dtype not in known:
        raise UnsupportedModelError(
            f"{CONFIG}: the model is in {dtype}, which cannot be pruned",
            hint=f"prune a checkpoint in one of {', '.join(known)}, and quantise the result",
        )
    file = location.file(CONFIG)
    shapes = layout.whole(read, config)
    tensors = {name: TensorInfo(name, shape, dtype, file, 0) for name, shape in shapes.items()}
    return Checkpoint(location, config, replace(read, dtype=dtype), tensors)
