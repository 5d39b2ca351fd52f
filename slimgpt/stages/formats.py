"""A job's additional formats: checked in `plan`, written and verified in `verify`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.events import Verified, Warned
from slimgpt.formats import support
from slimgpt.formats.gguf import writer
from slimgpt.machine import disk
from slimgpt.spec.prune import Format, PruneSpec
from slimgpt.verification import formats, vllm


def wanted(spec: PruneSpec) -> list[Format]:
    """The formats that a job writes besides `exact`, in writing order."""
    return [form for form in support.FURTHER if form in spec.formats]


def require(spec: PruneSpec, checkpoint: Checkpoint, after: Sequence[LayerSize]) -> None:
    """Check that a job's formats can be written and verified on this machine.

    Args:
        checkpoint: the dense model.
        after: the sizes of its layers after pruning.

    Raises:
        SpecError: a library is missing, or a format cannot hold such layers.
        UnsupportedModelError: llama.cpp has no such tokenizer.
    """
    pruned = support.sized(checkpoint.architecture, after)
    for form in wanted(spec):
        formats.require(form)
        support.require(form, pruned, checkpoint.config)
        if form == "gguf":
            writer.read_vocabulary(checkpoint)


def write(
    spec: PruneSpec, folder: Path, probe: formats.Probe, name: str
) -> Iterator[Verified | Warned]:
    """Write a finished checkpoint in the job's formats, each in a folder of its name within.

    If vLLM is installed, it verifies the formats that it loads, too.

    Args:
        name: the model's name, for formats that store one.

    Raises:
        VerificationError: a loader fails, or its results differ.
        StorageError: the disk is full.
    """
    yield from vllm.prove(folder, "exact", probe)
    for form in wanted(spec):
        place = folder / form
        with disk.storage_errors(place, 0):
            place.mkdir()
        yield formats.write(form, Checkpoint.open(folder), place, probe, spec.gguf_type, name)
        yield from vllm.prove(place, form, probe)
