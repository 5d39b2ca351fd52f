"""`PartialCheckpoint`: an unfinished checkpoint, one atomically written file per layer.

    layer-00000.safetensors   the layer's tensors by full name
    layer-00000.json          its record, written last; it marks the layer as complete
    job                       fingerprint of the job that may resume here

A crash leaves complete layers and at most one file without a record. Publication copies the tensors
into larger files; the files here stay until `discard`, so that a crash meanwhile loses nothing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from slimgpt.checkpoints import safetensors_file, safetensors_header
from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.families.architecture import Architecture
from slimgpt.checkpoints.safetensors_header import TensorInfo
from slimgpt.errors import ResumeError, StorageError
from slimgpt.machine import disk

JOB = "job"


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

    def tensors(self, checkpoint: Checkpoint) -> dict[str, TensorInfo]:
        """All tensors of the model by full name: those outside the layers are the parent's.

        Args:
            checkpoint: the parent.

        Raises:
            ResumeError: a layer is not finished.
        """
        made = {name: checkpoint.tensors[name] for name in checkpoint.outer_names()}
        for file in self.files():
            made |= safetensors_header.read(file)
        return made

    def files(self) -> list[Path]:
        """The file of every layer.

        Raises:
            ResumeError: a layer is not finished.
        """
        indices = range(self._architecture.layers)
        unfinished = [index for index in indices if self._seal(index) is None]
        if unfinished:
            raise ResumeError(f"layer {unfinished[0]} is not finished", hint="resume the job")
        return [self._layer(index) for index in indices]

    def discard(self) -> None:
        """Remove the folder, after publication."""
        shutil.rmtree(self.folder)

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


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
