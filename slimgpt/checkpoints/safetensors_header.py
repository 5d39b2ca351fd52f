"""Parsing and validation of safetensors headers, without reading tensor data.

A file is eight bytes (the header's length, little endian), the header (JSON: name → dtype, shape,
offsets), and the tensors one after the other
(https://github.com/huggingface/safetensors#format). The header is parsed here and not by the
library, so that errors name the file and its sizes, for all shards and before torch is imported.
The library reads the tensors.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimgpt.errors import BrokenCheckpointError, ModelNotFoundError, UnsupportedModelError

LENGTH_BYTES = 8
POINTER = b"version "  # the start of a Git LFS pointer; as a length it would be 2 EB
LARGEST_HEADER = 100_000_000  # the library's own limit
MOST_DIMENSIONS = 8
FORMATS = {"F32": ("float32", 4), "F16": ("float16", 2), "BF16": ("bfloat16", 2)}
CODES = {dtype: code for code, (dtype, _) in FORMATS.items()}
HINT = "download or copy this file again"


@dataclass(frozen=True)
class TensorInfo:
    """Name, shape, dtype and position of a stored tensor.

    Attributes:
        name: full name in the file.
        shape: sizes of its dimensions.
        dtype: `float32`, `float16` or `bfloat16`.
        file: the safetensors file that contains it.
        offset: of its first byte in the file, in bytes.
        rows: first and last row (exclusive) if it is only a part of the stored tensor, else None.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    file: Path
    offset: int
    rows: tuple[int, int] | None = None

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size on disk."""
        return self.count * next(size for name, size in FORMATS.values() if name == self.dtype)


def read(file: Path) -> dict[str, TensorInfo]:
    """The tensors of a safetensors file by name.

    Raises:
        BrokenCheckpointError: the file is truncated, or its header is invalid.
        UnsupportedModelError: a tensor is not float32, float16 or bfloat16.
        ModelNotFoundError: the file cannot be read.
    """
    header, data_start, data_bytes = _header(file)
    infos = {
        name: _tensor(file, name, entry, data_start)
        for name, entry in header.items()
        if name != "__metadata__"
    }
    end = data_start
    for info in sorted(infos.values(), key=lambda info: (info.offset, info.bytes)):
        if info.offset != end:
            raise BrokenCheckpointError(
                f"{file.name}: {info.name} does not begin where the tensor before it ends",
                hint=HINT,
            )
        end += info.bytes
    if end - data_start != data_bytes:
        raise BrokenCheckpointError(
            f"{file.name} is truncated or damaged: its header describes {end - data_start} bytes "
            f"of tensors, the file has {data_bytes}",
            hint=HINT,
        )
    return infos


def _header(file: Path) -> tuple[Mapping[str, Any], int, int]:
    """The parsed header, the offset at which it ends, and the number of bytes that follow it."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            first = stream.read(LENGTH_BYTES)
            if first == POINTER:
                raise BrokenCheckpointError(
                    f"{file.name} is a Git LFS pointer, not the file itself",
                    hint="run `git lfs pull` in the model folder, or download the model again",
                )
            length = int.from_bytes(first, "little")
            follow = size - LENGTH_BYTES - length
            if follow < 0 or length > LARGEST_HEADER:
                raise BrokenCheckpointError(
                    f"{file.name} is truncated or damaged: its header should have {length} bytes, "
                    f"the whole file has {size}",
                    hint=HINT,
                )
            text = stream.read(length)
    except OSError as error:
        raise ModelNotFoundError(
            f"{file.name} cannot be read: {error.strerror}", hint="check the file's permissions"
        ) from error
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BrokenCheckpointError(
            f"{file.name} is not a safetensors file: its header is not JSON", hint=HINT
        ) from error
    if not isinstance(header, dict):
        raise BrokenCheckpointError(
            f"{file.name} is not a safetensors file: its header is not an object",
            hint=HINT,
        )
    return header, LENGTH_BYTES + length, follow


def _tensor(file: Path, name: str, entry: Any, data_start: int) -> TensorInfo:
    """Parse and check a tensor's entry in the header."""
    try:
        code, shape = str(entry["dtype"]), tuple(int(size) for size in entry["shape"])
        start, end = (int(offset) for offset in entry["data_offsets"])
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        raise BrokenCheckpointError(
            f"{file.name}: the header entry of {name} is invalid", hint=HINT
        ) from error
    if code not in FORMATS:
        known = ", ".join(known for known, _ in FORMATS.values())
        raise UnsupportedModelError(
            f"{file.name}: {name} has dtype {code}, which is not supported",
            hint=f"prune a checkpoint in {known}, and quantise the result",
        )
    if len(shape) > MOST_DIMENSIONS:  # the product of many sizes would take hours
        raise BrokenCheckpointError(
            f"{file.name}: {name} has {len(shape)} dimensions, at most {MOST_DIMENSIONS} are valid",
            hint=HINT,
        )
    dtype, width = FORMATS[code]
    info = TensorInfo(name, shape, dtype, file, data_start + start)
    if min(shape, default=0) < 0 or start < 0 or end - start != info.count * width:
        raise BrokenCheckpointError(
            f"{file.name} is damaged: {name} of shape {list(shape)} in {dtype} takes "
            f"{info.count * width} bytes, the header gives {end - start}",
            hint=HINT,
        )
    return info
