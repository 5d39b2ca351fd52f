"""`slimgpt export`: converts an existing checkpoint, pruned or dense, to other formats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from slimgpt.checkpoints import tokenizer_checks
from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.errors import SpecError
from slimgpt.events import Event, Progress
from slimgpt.formats import support
from slimgpt.formats.gguf import writer
from slimgpt.machine import disk, precision, resource_errors
from slimgpt.sources import tokenizer_files
from slimgpt.spec.prune import Format, GgufType
from slimgpt.texts.tokenization import sandbox
from slimgpt.verification import tokenizer, vllm
from slimgpt.verification.formats import Probe, probe_of, require, write


def export(
    model: Path,
    destination: Path,
    formats: Sequence[str],
    stored: GgufType | None,
    device: str,
) -> Iterator[Event]:
    """Write a checkpoint in other formats, each verified by its own loader.

    Args:
        model: folder of a checkpoint.
        destination: appears when all formats are written and verified; contains the files of one
            format directly, several formats in folders of their names.
        formats: `uniform`, `padded`, `gguf`.
        stored: type of a GGUF file's matrices; the model's own precision if None.

    Yields:
        `Progress`, and a `Verified` for every format.

    Raises:
        SlimGPTError: a format cannot hold the model, a loader is missing or fails, the disk is
            full; nothing is written.
    """
    with resource_errors.expected(destination.parent):
        disk.require_new(destination)
        checkpoint = Checkpoint.open(model)
        tokenizer_checks.check(checkpoint.location)
        wanted = [form for form in support.FURTHER if form in formats]
        for other in set(formats) - set(support.FURTHER):
            raise SpecError(
                f"`{other}` is not an export format",
                hint=f"choose among {', '.join(support.FURTHER)}; a pruned folder is `exact`",
            )
        if _has_tokenizer(checkpoint):
            with sandbox.opened(checkpoint.folder) as loaded:
                sandbox.describe(loaded)  # in bounds, before the process loads it without bounds
        for form in wanted:
            require(form)
            support.require(form, checkpoint.architecture, checkpoint.config)
        if "gguf" in wanted:
            writer.read_vocabulary(checkpoint)  # raises before anything is written
        probe = probe_of(checkpoint, precision.device_for(device))
        yield from _written(checkpoint, destination, wanted, probe, stored)


def _written(
    checkpoint: Checkpoint,
    destination: Path,
    wanted: Sequence[Format],
    probe: Probe,
    stored: GgufType | None,
) -> Iterator[Event]:
    with disk.new_folder(destination) as made:
        for number, form in enumerate(wanted):
            yield Progress(stage="verify", done=number, total=len(wanted), what=form)
            folder = made / form if len(wanted) > 1 else made
            with disk.storage_errors(destination, 0):
                folder.mkdir(exist_ok=True)
            yield write(form, checkpoint, folder, probe, stored)
            yield from vllm.prove(folder, form, probe)
            if form != "gguf" and _has_tokenizer(checkpoint):
                tokenizer.prove(checkpoint.folder, [folder])


def _has_tokenizer(checkpoint: Checkpoint) -> bool:
    return tokenizer_files.include_tokenizer(one.name for one in checkpoint.folder.iterdir())
