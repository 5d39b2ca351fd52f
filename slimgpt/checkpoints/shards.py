"""Writes tensors of several safetensors files as one checkpoint of a few large files.

The files are those that `save_pretrained` writes: `model.safetensors`, or numbered shards and their
index. Tensor data is copied as bytes from file to file, so memory does not grow with the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from slimgpt.checkpoints.checkpoint import BLOCK_BYTES, INDEX, SINGLE
from slimgpt.checkpoints.safetensors_header import CODES, LENGTH_BYTES, TensorInfo
from slimgpt.errors import BrokenCheckpointError
from slimgpt.machine import disk

LARGEST = 5 * 10**9  # bytes of tensors in a file
ALIGNMENT = 8  # bytes; the header is padded to it


def write(tensors: Mapping[str, TensorInfo], folder: Path, largest: int = LARGEST) -> None:
    """Copy tensors into the weight files of a checkpoint folder.

    Args:
        tensors: by the name to write; split into files in this order.
        folder: an existing folder without weights.
        largest: bytes of tensors in a file; a larger tensor has a file of its own.

    Raises:
        StorageError: the disk is full or cannot be written.
        BrokenCheckpointError: a source was truncated.
    """
    parts = _split(tensors, largest)
    if len(parts) == 1:
        save(parts[0], folder / SINGLE)
        return
    placed: dict[str, str] = {}
    for number, part in enumerate(parts, start=1):
        shard = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        save(part, folder / shard)
        placed |= dict.fromkeys(part, shard)
    write_index(tensors, placed, folder)


def save(tensors: Mapping[str, TensorInfo], file: Path) -> None:
    """Copy tensors into one file, byte for byte as safetensors' `save_file` writes it.

    Args:
        tensors: of one dtype, by the name to write.

    Raises:
        StorageError: the disk is full or cannot be written.
        BrokenCheckpointError: a source was truncated.
    """
    ordered = dict(sorted(tensors.items()))
    start = header(ordered)
    size = len(start) + sum(info.bytes for info in ordered.values())

    def fill(aside: Path) -> None:
        with aside.open("wb") as target:
            target.write(start)
            for info in ordered.values():
                _copy(info, target)

    disk.write_atomically(file, size, fill)


def write_index(tensors: Mapping[str, TensorInfo], placed: Mapping[str, str], folder: Path) -> None:
    """Write `model.safetensors.index.json`.

    Args:
        placed: the file name of each tensor.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    content = {
        "metadata": {
            "total_parameters": sum(info.count for info in tensors.values()),
            "total_size": sum(info.bytes for info in tensors.values()),
        },
        "weight_map": dict(sorted(placed.items())),
    }
    disk.write_text(folder / INDEX, json.dumps(content, indent=2) + "\n")


def _split(tensors: Mapping[str, TensorInfo], largest: int) -> list[dict[str, TensorInfo]]:
    parts: list[dict[str, TensorInfo]] = [{}]
    filled = 0
    for name, info in tensors.items():
        if parts[-1] and filled + info.bytes > largest:
            parts.append({})
            filled = 0
        parts[-1][name] = info
        filled += info.bytes
    return parts


def header(tensors: Mapping[str, TensorInfo]) -> bytes:
    """The length of the header, and the header: offsets of tensors stored one after the other."""
    content: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, info in tensors.items():
        start, end = end, end + info.bytes
        content[name] = {
            "dtype": CODES[info.dtype],
            "shape": info.shape,
            "data_offsets": [start, end],
        }
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text


def _copy(info: TensorInfo, target: BinaryIO) -> None:
    """Append a tensor's data, 16 MiB at a time."""
    left = info.bytes
    with info.file.open("rb") as source:
        source.seek(info.offset)
        while left:
            block = source.read(min(left, BLOCK_BYTES))
            if not block:
                raise BrokenCheckpointError(
                    f"{info.file.name} was truncated while {info.name} was copied",
                    hint="check the disk, and run the job again",
                )
            target.write(block)
            left -= len(block)
