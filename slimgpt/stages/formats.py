"""A job's additional formats: checked in `plan`, written and proved in `verify`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.events import Verified, Warned
from slimgpt.formats import support
from slimgpt.formats.gguf import writer as file
from slimgpt.machine import disk
from slimgpt.spec.prune import Format, PruneSpec
from slimgpt.verification import formats, vllm


def wanted(spec: PruneSpec) -> list[Format]:
    """What a job writes beside `exact`, in the order in which it does."""
    return [form for form in support.FURTHER if form in spec.formats]


def require(spec: PruneSpec, checkpoint: Checkpoint, after: Sequence[LayerSize]) -> None:
    """See that a job's formats can be written and proved here.

    Args:
        checkpoint: the dense model.
        after: what its layers will be.

    Raises:
        SpecError: a library is missing, or a format cannot hold such layers.
        UnsupportedModelError: llama.cpp has no such tokenizer.
    """
    pruned = support.sized(checkpoint.architecture, after)
    for form in wanted(spec):
        formats.require(form)
        support.require(form, pruned, checkpoint.config)
        if form == "gguf":
            file.read_vocabulary(checkpoint)


def write(
    spec: PruneSpec, folder: Path, probe: formats.Probe, name: str
) -> Iterator[Verified | Warned]:
    """Write a finished checkpoint in the job's formats, each in a folder of its name within.

    All that vLLM reads is proved by it, too, where it is installed.

    Args:
        name: of the model, for files that hold one.

    Raises:
        VerificationError: a loader does not load it, or computes something else.
        StorageError: the disk is full.
    """
    yield from vllm.prove(folder, "exact", probe)
    for form in wanted(spec):
        place = folder / form
        with disk.storage_errors(place, 0):
            place.mkdir()
        yield formats.write(form, Checkpoint.open(folder), place, probe, spec.gguf_type, name)
        yield from vllm.prove(place, form, probe)
