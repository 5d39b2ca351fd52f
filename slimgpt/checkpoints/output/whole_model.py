"""Loads a whole model with transformers from a folder whose only code is the engine's.

A model folder may contain code, which must not run. So the model is first linked into a folder that
the engine creates, with its own modelling file.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from slimgpt.checkpoints import shards
from slimgpt.checkpoints.checkpoint import INDEX, Checkpoint
from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.checkpoints.families.family import Family
from slimgpt.checkpoints.output import folder as published
from slimgpt.checkpoints.output import modeling
from slimgpt.checkpoints.output.partial import PartialCheckpoint
from slimgpt.machine import disk
from slimgpt.machine.precision import DTYPES

OUTER = "outer.safetensors"


def place(
    partial: PartialCheckpoint, checkpoint: Checkpoint, sizes: Sequence[LayerSize], folder: Path
) -> Path:
    """Link finished layers to a folder that loads; an existing folder is replaced.

    Args:
        partial: all of its layers are finished.
        checkpoint: the parent.
        sizes: the layers' sizes.

    Raises:
        ResumeError: a layer is not finished.
        StorageError: the disk is full or cannot be written.
    """
    tensors = partial.tensors(checkpoint)
    outer = {name: checkpoint.tensors[name] for name in checkpoint.outer_names()}
    _empty(folder)
    shards.save(outer, folder / OUTER)
    for file in partial.files():
        _link(file, folder / file.name)
    placed = {name: OUTER if name in outer else info.file.name for name, info in tensors.items()}
    shards.write_index(tensors, placed, folder)
    published.write(checkpoint, sizes, folder)
    return folder


def mirror(checkpoint: Checkpoint, folder: Path) -> Path:
    """Link an unchanged checkpoint, without its code, to a folder; an existing one is replaced.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    _empty(folder)
    if checkpoint.renamed:  # the family's names differ from those in the files
        shards.write(checkpoint.tensors, folder)
    else:
        with disk.storage_errors(folder, 0):
            for file in {info.file for info in checkpoint.tensors.values()}:
                (folder / file.name).symlink_to(file.absolute())
        if (index := checkpoint.folder / INDEX).exists():
            disk.copy(index, folder / INDEX)
    published.write(checkpoint, checkpoint.architecture.sizes, folder)
    return folder


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # of an interrupted run
    with disk.storage_errors(folder, 0):
        folder.mkdir(parents=True)


def _link(source: Path, target: Path) -> None:
    """Create a hard link, or a copy if the file system does not support links."""
    try:
        target.hardlink_to(source)
    except OSError:
        disk.copy(source, target)


def load(folder: Path, family: Family, dtype: str, device: torch.device) -> Any:
    """Load the model of a folder made by `place` or `mirror`, in evaluation mode.

    Args:
        dtype: the checkpoint's dtype.
    """
    name = f"slimgpt_whole_{family.model_type}"
    described = importlib.util.spec_from_file_location(name, folder / modeling.MODELING)
    assert described is not None
    assert described.loader is not None
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    transformers.logging.disable_progress_bar()  # the engine reports progress by events
    cls: Any = getattr(module, modeling.causal_class(family))
    model = cls.from_pretrained(folder, dtype=DTYPES[dtype], local_files_only=True)
    return model.to(device).eval()
