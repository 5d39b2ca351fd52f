"""`PartialCheckpoint`: an unfinished checkpoint, one atomically written file per layer.

    layer-00000.safetensors   the layer's tensors by full name
    layer-00000.json          its record, written last; it marks the layer as complete
    outer-0, outer-1          tensors before and after the layers
    job                       fingerprint of the job that may resume here

A crash leaves complete layers and at most one file without a record. `finalise` links the files
with their final names into a temporary folder and renames that folder; the files here stay until
`discard`, so that a crash during `finalise` loses nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from slimgpt.checkpoints import safetensors_file, safetensors_header
from slimgpt.checkpoints.checkpoint import INDEX, Checkpoint
from slimgpt.checkpoints.families.architecture import Architecture
from slimgpt.checkpoints.safetensors_header import TensorInfo
from slimgpt.errors import ResumeError, StorageError
from slimgpt.machine import disk

JOB = "job"
OUTER = ("outer-0.safetensors", "outer-1.safetensors")


class PartialCheckpoint:
    """The finished layers of a job.

    Args:
        folder: created if absent; bound to the job by `fingerprint`.
        fingerprint: see `fingerprint.of`.
        architecture: the parent's; gives the number of layers and the prefix of tensor names.

    Raises:
        ResumeError: the folder belongs to another job, or is not a folder of layers.
        StorageError: the folder cannot be written.
    """

    def __init__(self, folder: Path, fingerprint: str, architecture: Architecture) -> None:
        self.folder, self.fingerprint = folder, fingerprint
        self._architecture = architecture
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"{folder} cannot be created: {error.strerror}", hint="choose another folder"
            ) from error
        self._bind(fingerprint)

    def write_layer(self, index: int, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
        """Write a finished layer, its record last.

        Args:
            tensors: by name within the layer, checkpoint dtype.
            record: a JSON object, returned by `finished`.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        file, prefix = self._layer(index), self._architecture.family.layer_prefix(index)
        self._record(index).unlink(missing_ok=True)  # of an older layer file
        safetensors_file.save(file, {prefix + name: tensor for name, tensor in tensors.items()})
        seal = {"size": file.stat().st_size, "sha256": _digest(file), "record": record}
        disk.write_text(self._record(index), json.dumps(seal, allow_nan=False))

    def finished(self) -> list[dict[str, Any]]:
        """Records of the complete layers, up to the first missing or damaged layer.

        Reads every layer's file once to check its hash.
        """
        records = []
        for index in range(self._architecture.layers):
            seal = self._seal(index)
            if seal is None or _digest(self._layer(index)) != seal["sha256"]:
                break
            records.append(seal["record"])
        return records

    def layer(self, index: int, device: str = "cpu") -> dict[str, Tensor]:
        """A finished layer's tensors by name within the layer, read from the disk."""
        start = len(self._architecture.family.layer_prefix(index))
        loaded = safetensors_file.load(self._layer(index), device=device)
        return {name[start:]: tensor for name, tensor in loaded.items()}

    def write_outer(self, checkpoint: Checkpoint) -> None:
        """Copy the tensors outside the layers bit for bit, one file at a time.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        before = f"{self._architecture.family.embedding}.weight"
        after = [name for name in checkpoint.outer_names() if name != before]
        for file, names in zip(OUTER, ([before], after), strict=True):
            safetensors_file.save(self.folder / file, checkpoint.load(names))

    def finalise(self, destination: Path, complete: Callable[[Path], None]) -> None:
        """Create the checkpoint folder; it gets its name only when it is complete.

        Args:
            destination: absent or empty.
            complete: called with the temporary folder, which has the weights and their index, to
                add the other files and to verify the folder. If it raises, `destination` is not
                created and all finished layers stay.

        Raises:
            ResumeError: a layer is not finished.
            StorageError: the destination exists, or the disk is full or cannot be written.
        """
        if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
            raise StorageError(f"{destination} exists already", hint="choose another folder")
        aside = destination.with_name(f".{destination.name}.{os.getpid()}")
        shutil.rmtree(aside, ignore_errors=True)
        try:
            with disk.storage_errors(destination, 0):
                aside.mkdir(parents=True)
            self._place(aside)
            complete(aside)
            with disk.storage_errors(destination, 0):
                _sync_all(aside)
                aside.rename(destination)
                disk.sync(destination.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def discard(self) -> None:
        """Remove the folder, after `finalise`."""
        shutil.rmtree(self.folder)

    def _place(self, aside: Path) -> None:
        """Link the shards with their final names, and write their index."""
        layers = [self._layer(index) for index in range(self._architecture.layers)]
        unfinished = [index for index in range(len(layers)) if self._seal(index) is None]
        sources = [self.folder / OUTER[0], *layers, self.folder / OUTER[1]]
        if unfinished or not all(source.exists() for source in sources):
            what = f"layer {unfinished[0]} is" if unfinished else "the outer tensors are"
            raise ResumeError(f"{what} not finished", hint="resume the job")
        stored: dict[str, TensorInfo] = {}
        for number, source in enumerate(sources, start=1):
            shard = aside / f"model-{number:05d}-of-{len(sources):05d}.safetensors"
            link(source, shard)
            stored |= safetensors_header.read(shard)
        disk.write_text(aside / INDEX, index_of(stored))

    def _bind(self, fingerprint: str) -> None:
        job = self.folder / JOB
        if job.exists():
            if job.read_text().strip() != fingerprint:
                raise ResumeError(
                    f"{self.folder} contains the layers of another job (another model, "
                    "specification or calibration text)",
                    hint="choose another working folder, or remove this one",
                )
        elif any(not entry.name.startswith(f".{JOB}.") for entry in self.folder.iterdir()):
            raise ResumeError(
                f"{self.folder} is not empty and contains no job",
                hint="choose another working folder",
            )
        else:
            disk.write_text(job, fingerprint + "\n")

    def _seal(self, index: int) -> dict[str, Any] | None:
        """Size, hash and record of a layer if its file has the recorded size, else None."""
        try:
            seal = json.loads(self._record(index).read_bytes())
            whole = self._layer(index).stat().st_size == seal["size"] and "sha256" in seal
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return seal if whole else None

    def _layer(self, index: int) -> Path:
        return self.folder / f"layer-{index:05d}.safetensors"

    def _record(self, index: int) -> Path:
        return self.folder / f"layer-{index:05d}.json"


def index_of(stored: dict[str, TensorInfo]) -> str:
    """The content of `model.safetensors.index.json`."""
    content = {
        "metadata": {
            "total_parameters": sum(info.count for info in stored.values()),
            "total_size": sum(info.bytes for info in stored.values()),
        },
        "weight_map": {name: stored[name].file.name for name in sorted(stored)},
    }
    return json.dumps(content, indent=2) + "\n"


def link(source: Path, target: Path) -> None:
    """Create a hard link, or a copy if the file system does not support links."""
    with disk.storage_errors(target, 0):
        try:
            target.hardlink_to(source)
            return
        except OSError:
            pass
    disk.copy(source, target)


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync_all(folder: Path) -> None:
    for entry in folder.iterdir():
        disk.sync(entry)
    disk.sync(folder)
