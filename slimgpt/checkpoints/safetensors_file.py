"""Reading and writing the tensors of one safetensors file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from slimgpt.machine import disk


def load(file: Path, names: Iterable[str] | None = None, device: str = "cpu") -> dict[str, Tensor]:
    """Read some or all tensors of a file, in the dtype in which they are stored.

    Tensors are copied out of the file's memory map and the map is closed: one that stays open
    keeps every page that was ever read in the resident set.

    Args:
        names: all if None.
        device: where the tensors go.

    Raises:
        SafetensorError: the file is torn, or has no tensor of that name.
    """
    with safe_open(file, framework="pt", device=device) as stored:
        wanted = stored.keys() if names is None else names
        return {name: stored.get_tensor(name).clone() for name in wanted}


def save(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as one file that transformers reads; replaces an older one.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    needed = sum(tensor.nbytes for tensor in contiguous.values())
    disk.write_atomically(
        file, needed, lambda aside: save_file(contiguous, aside, metadata={"format": "pt"})
    )
