"""A job's formats: checked in `plan`, written and verified in `verify`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from slimgpt.checkpoints import shards
from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.checkpoints.output import folder as published
from slimgpt.checkpoints.output.partial import PartialCheckpoint
from slimgpt.events import Verified, Warned
from slimgpt.formats import stock, support
from slimgpt.formats.gguf import writer
from slimgpt.machine import disk
from slimgpt.spec.prune import Format, PruneSpec
from slimgpt.verification import formats, vllm
from slimgpt.verification.reload import verify


def main(spec: PruneSpec) -> Format:
    """The format of the checkpoint itself: `uniform` if requested, else `exact`."""
    return "uniform" if spec.layers_alike else "exact"


def further(spec: PruneSpec) -> list[Format]:
    """The formats in folders of their names, in writing order."""
    order: tuple[Format, ...] = ("exact", *support.FURTHER)
    return [form for form in order if form in spec.formats and form != main(spec)]


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
    for form in (main(spec), *further(spec)):
        formats.require(form)
        support.require(form, pruned, checkpoint.config)
        if form == "gguf":
            writer.read_vocabulary(checkpoint)


@dataclass(frozen=True)
class FinishedModel:
    """Finished layers, and what makes a checkpoint of them.

    Attributes:
        partial: the layers.
        parent: the dense model.
        sizes: of the layers.
    """

    partial: PartialCheckpoint
    parent: Checkpoint
    sizes: Sequence[LayerSize]


def write_checkpoint(form: Format, model: FinishedModel, folder: Path) -> None:
    """Write a finished model as a checkpoint, `exact` or `uniform`.

    Args:
        folder: an existing, empty folder.

    Raises:
        ResumeError: a layer is not finished.
        StorageError: the disk is full.
    """
    shards.write(model.partial.tensors(model.parent), folder)
    if form == "uniform":
        stock.write_files(model.parent, model.sizes[0], folder)
    else:
        published.write(model.parent, model.sizes, folder)


def write_further(
    spec: PruneSpec, model: FinishedModel, folder: Path, probe: formats.Probe, name: str
) -> Iterator[Verified | Warned]:
    """Write a finished checkpoint in the job's further formats, each in a folder of its name.

    If vLLM is installed, it verifies the formats that it loads, too.

    Args:
        folder: the checkpoint.
        name: the model's name, for formats that store one.

    Raises:
        VerificationError: a loader fails, or its results differ.
        StorageError: the disk is full.
    """
    yield from vllm.prove(folder, main(spec), probe)
    for form in further(spec):
        place = folder / form
        with disk.storage_errors(place, 0):
            place.mkdir()
        if form == "exact":
            write_checkpoint(form, model, place)
            yield verify(place, probe.tokens, probe.logits, probe.device)
        else:
            yield formats.write(form, Checkpoint.open(folder), place, probe, spec.gguf_type, name)
        yield from vllm.prove(place, form, probe)
