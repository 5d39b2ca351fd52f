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

from slimgpt.checkpoints.checkpoint import INDEX, Checkpoint
from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.checkpoints.families.family import Family
from slimgpt.checkpoints.output import folder as published
from slimgpt.checkpoints.output import modeling
from slimgpt.checkpoints.output.partial import PartialCheckpoint
from slimgpt.machine import disk
from slimgpt.machine.precision import DTYPES


def place(
    partial: PartialCheckpoint, checkpoint: Checkpoint, sizes: Sequence[LayerSize], folder: Path
) -> Path:
    """Write finished layers and outer tensors to a folder; an existing folder is replaced.

    Args:
        partial: all of its layers are finished.
        checkpoint: the parent.
        sizes: the layers' sizes.

    Raises:
        ResumeError: a layer is not finished.
        StorageError: the disk is full or cannot be written.
    """
    shutil.rmtree(folder, ignore_errors=True)  # of an interrupted run
    partial.write_outer(checkpoint)
    partial.finalise(folder, lambda aside: published.write(checkpoint, sizes, aside))
    return folder


def mirror(checkpoint: Checkpoint, folder: Path) -> Path:
    """Link an unchanged checkpoint, without its code, to a folder; an existing one is replaced.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    if checkpoint.renamed:
        return _copied(checkpoint, folder)
    shutil.rmtree(folder, ignore_errors=True)
    with disk.storage_errors(folder, 0):
        folder.mkdir(parents=True)
        for file in {info.file for info in checkpoint.tensors.values()}:
            (folder / file.name).symlink_to(file.absolute())
    if (index := checkpoint.folder / INDEX).exists():
        disk.copy(index, folder / INDEX)
    published.write(checkpoint, checkpoint.architecture.sizes, folder)
    return folder


def _copied(checkpoint: Checkpoint, folder: Path) -> Path:
    """Copy the tensors with the family's names, which differ from the names in the files."""
    layers = folder.with_name(f"{folder.name}-layers")
    shutil.rmtree(layers, ignore_errors=True)
    copied = PartialCheckpoint(layers, "copy", checkpoint.architecture)
    for index in range(checkpoint.architecture.layers):
        copied.write_layer(index, checkpoint.layer(index), {})
    place(copied, checkpoint, checkpoint.architecture.sizes, folder)
    copied.discard()
    return folder


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
