"""`slimgpt export`: converts an existing checkpoint, pruned or dense, to other formats."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from slimgpt.checkpoints import tokenizer_checks as companions
from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.errors import SpecError, StorageError
from slimgpt.events import Event, Progress
from slimgpt.formats import support
from slimgpt.formats.gguf import writer as file
from slimgpt.machine import disk, precision
from slimgpt.machine import resource_errors as exhaustion
from slimgpt.sources import tokenizer_files
from slimgpt.spec.prune import Format, GgufType
from slimgpt.texts.tokenization import sandbox as process
from slimgpt.verification import formats as proof
from slimgpt.verification import vllm
from slimgpt.verification.tokenizer import prove as prove_tokenizer


def export(
    model: Path,
    destination: Path,
    formats: Sequence[str],
    stored: GgufType | None = None,
    device: str = "auto",
) -> Iterator[Event]:
    """Write a checkpoint in other formats, each proved by its own loader.

    Args:
        model: folder of a checkpoint.
        destination: appears when all is written and proved; one format lies in it as it is,
            several in folders of their names.
        stored: type of a GGUF file's matrices; the model's own precision if None.

    Yields:
        `Progress`, and a `Verified` for every format.

    Raises:
        SlimGPTError: a format cannot hold the model, a loader is missing or refuses, the disk is
            full; nothing is left of it.
    """
    with exhaustion.expected(destination.parent):
        if destination.exists():
            raise StorageError(f"{destination} exists already", hint="choose another folder")
        checkpoint = Checkpoint.open(model)
        companions.check(checkpoint.location)
        wanted = [form for form in support.FURTHER if form in formats]
        for other in set(formats) - set(support.FURTHER):
            raise SpecError(
                f"format `{other}` is not one to export to",
                hint=f"choose among {', '.join(support.FURTHER)}; a pruned folder is `exact`",
            )
        if _has_tokenizer(checkpoint):
            with process.opened(checkpoint.folder) as tokenizer:
                process.describe(tokenizer)  # once here: it is loaded again, unbounded
        for form in wanted:
            proof.require(form)
            support.require(form, checkpoint.architecture, checkpoint.config)
        if "gguf" in wanted:
            file.read_vocabulary(checkpoint)  # refused before anything is written
        probe = proof.probe_of(checkpoint, precision.device_for(device))
        yield from _written(checkpoint, destination, wanted, probe, stored)


def _written(
    checkpoint: Checkpoint,
    destination: Path,
    wanted: Sequence[Format],
    probe: proof.Probe,
    stored: GgufType | None,
) -> Iterator[Event]:
    aside = destination.with_name(f".{destination.name}.{os.getpid()}")
    try:
        for number, form in enumerate(wanted):
            yield Progress(stage="verify", done=number, total=len(wanted), what=form)
            folder = aside / form if len(wanted) > 1 else aside
            with disk.storage_errors(destination, 0):
                folder.mkdir(parents=True)
            yield proof.write(form, checkpoint, folder, probe, stored)
            yield from vllm.prove(folder, form, probe)
            if form != "gguf" and _has_tokenizer(checkpoint):
                prove_tokenizer(checkpoint.folder, [folder])
        with disk.storage_errors(destination, 0):
            aside.rename(destination)
            disk.sync(destination.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _has_tokenizer(checkpoint: Checkpoint) -> bool:
    return tokenizer_files.include_tokenizer(one.name for one in checkpoint.folder.iterdir())
