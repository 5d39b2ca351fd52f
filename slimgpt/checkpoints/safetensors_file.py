"""Reading and writing the tensors of one safetensors file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from slimgpt.machine import disk


def load(file: Path, names: Iterable[str] | None = None, device: str = "cpu") -> dict[str, Tensor]:
    """Read some or all tensors of a file in their stored dtype.

    Tensors are copied out of the file's memory map and the map is closed, because an open map keeps
    all pages that were read resident.

    Args:
        names: all tensors if None.
        device: device of the returned tensors.

    Raises:
        SafetensorError: the file is damaged, or has no tensor of that name.
    """
    with safe_open(file, framework="pt", device=device) as stored:
        wanted = stored.keys() if names is None else names
        return {name: stored.get_tensor(name).clone() for name in wanted}


def save(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors to one file that transformers reads; an existing file is replaced.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    needed = sum(tensor.nbytes for tensor in contiguous.values())
    disk.write_atomically(
        file, needed, lambda aside: save_file(contiguous, aside, metadata={"format": "pt"})
    )
