"""`Checkpoint`: a Hugging Face folder, validated when opened and read one layer at a time.

`Checkpoint.open` checks everything that config and headers show, so that a truncated file or an
unsupported architecture is refused in milliseconds. Only safetensors files are read, because
pickles can run code. This module imports torch only when tensors are read, and never transformers.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimgpt.checkpoints import name_mapping, safetensors_header
from slimgpt.checkpoints.families import architecture as architectures
from slimgpt.checkpoints.families import layout
from slimgpt.checkpoints.families.architecture import Architecture
from slimgpt.checkpoints.location import Location
from slimgpt.checkpoints.safetensors_header import TensorInfo
from slimgpt.errors import BrokenCheckpointError, UnsupportedModelError
from slimgpt.sources import adapters

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "config.json"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
LARGEST_JSON = 64 * 2**20
BLOCK_BYTES = 2**24


@dataclass(frozen=True)
class Checkpoint:
    """A dense or pruned model on disk.

    Attributes:
        location: the folder, and the root that its links may not leave.
        config: the unchanged content of `config.json`.
        architecture: the sizes in the config; its dtype is that of the stored tensors.
        tensors: the model's tensors by full name; of tied tensors only the embedding.
    """

    location: Location
    config: dict[str, Any]
    architecture: Architecture
    tensors: dict[str, TensorInfo]

    @classmethod
    def open(cls, folder: Path, *, within: Path | None = None) -> Checkpoint:
        """Open a model folder and check everything that needs no weights.

        Args:
            folder: contains `config.json` and safetensors, one file or shards with their index.
            within: a root that the folder and its links may not leave.

        Raises:
            ModelNotFoundError: the folder does not exist, or a link leads out of `within`.
            UnsupportedModelError: unsupported family, quantised, pickled, or mixed precision.
            BrokenCheckpointError: a file is missing or truncated, or tensors do not match the
                config.
        """
        location = Location.of(folder, within)
        config = name_mapping.config(config_of(location))
        read = architectures.read(config)
        stored = name_mapping.tensors(_stored(_weight_files(location), read), read)
        wanted = layout.whole(read, config)
        _check_tied(stored, read)
        _check_shapes(stored, wanted)
        _check_known(stored, wanted, read)
        tensors = {name: stored[name] for name in wanted}
        return cls(location, config, replace(read, dtype=_dtype(tensors.values())), tensors)

    @property
    def folder(self) -> Path:
        """The folder, links resolved."""
        return self.location.folder

    @property
    def renamed(self) -> bool:
        """Whether the files use other tensor names than the model's family."""
        return any(name != info.name for name, info in self.tensors.items())

    @property
    def parameters(self) -> int:
        """Number of parameters; tied tensors count once."""
        return sum(info.count for info in self.tensors.values())

    @property
    def bytes(self) -> int:
        """Size of the tensors on disk; tied tensors count once."""
        return sum(info.bytes for info in self.tensors.values())

    def layer_names(self, index: int) -> list[str]:
        """Full names of one decoder layer's tensors."""
        prefix = self.architecture.family.layer_prefix(index)
        return [name for name in self.tensors if name.startswith(prefix)]

    def outer_names(self) -> list[str]:
        """Full names of all tensors outside the decoder layers, without a tied head."""
        return list(layout.outer(self.architecture, self.config))

    def load(self, names: Iterable[str], device: str = "cpu") -> dict[str, Tensor]:
        """Read some tensors in their stored dtype.

        Args:
            names: full names.
            device: device of the returned tensors.

        Raises:
            KeyError: the checkpoint has no such tensor.
        """
        from slimgpt.checkpoints import safetensors_file

        by_file: dict[Path, dict[str, TensorInfo]] = defaultdict(dict)
        for name in names:
            by_file[self.tensors[name].file][name] = self.tensors[name]
        tensors: dict[str, Tensor] = {}
        for file, wanted in by_file.items():
            stored = safetensors_file.load(file, {info.name for info in wanted.values()}, device)
            tensors |= {name: _part(stored[info.name], info) for name, info in wanted.items()}
        return tensors

    def layer(self, index: int, device: str = "cpu") -> dict[str, Tensor]:
        """One decoder layer's tensors by their names within the layer, in the stored dtype.

        Meanwhile, and until it is asked for, the system reads the next layer's.
        """
        from slimgpt.machine import disk

        start = len(self.architecture.family.layer_prefix(index))
        for name in self.layer_names(index + 1):
            info = self.tensors[name]
            disk.read_ahead(info.file, info.offset, info.bytes)
        loaded = self.load(self.layer_names(index), device)
        return {name[start:]: tensor for name, tensor in loaded.items()}


def _part(stored: Tensor, info: TensorInfo) -> Tensor:
    """The tensor, or the rows that `info` selects."""
    return stored if info.rows is None else stored[slice(*info.rows)].clone()


def config_of(location: Location) -> dict[str, Any]:
    """The content of a model folder's `config.json`.

    Raises:
        BrokenCheckpointError: the file is missing or is not a JSON object.
        UnsupportedModelError: the folder contains an adapter.
    """
    names = [entry.name for entry in location.folder.iterdir()]
    weights = [n for n in names if n in (SINGLE, INDEX) or n.startswith("pytorch_model")]
    adapters.refuse(names, "the folder", weights)
    if not location.has(CONFIG):
        raise BrokenCheckpointError(
            f"{CONFIG} is missing", hint="name the folder that contains the model's config.json"
        )
    return _object(location, CONFIG)


def _object(location: Location, name: str) -> dict[str, Any]:
    """The JSON object in a file of the folder."""
    file = location.file(name)
    if file.stat().st_size > LARGEST_JSON:
        raise BrokenCheckpointError(f"{name} is larger than 64 MiB", hint=safetensors_header.HINT)
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BrokenCheckpointError(
            f"{name} is not JSON: {error}", hint=safetensors_header.HINT
        ) from error
    if not isinstance(content, dict):
        raise BrokenCheckpointError(f"{name} is not a JSON object", hint=safetensors_header.HINT)
    return content


def _weight_files(location: Location) -> list[Path]:
    """The files that transformers would read; a single file takes precedence over shards."""
    if location.has(SINGLE):
        return [location.file(SINGLE)]
    if location.has(INDEX):
        weight_map = _object(location, INDEX).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise BrokenCheckpointError(f"{INDEX} has no weight_map", hint=safetensors_header.HINT)
        return [location.file(name) for name in sorted({str(v) for v in weight_map.values()})]
    pickled = [entry.name for entry in location.folder.iterdir() if entry.suffix in PICKLES]
    if pickled:
        raise UnsupportedModelError(
            f"the weights are pickled ({min(pickled)}), and reading a pickle can run code",
            hint="use the model's safetensors; or, if you trust the file, convert it: "
            "AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)",
        )
    raise BrokenCheckpointError(
        f"the folder has no weights: neither {SINGLE} nor {INDEX}", hint="download the model again"
    )


def _stored(files: Iterable[Path], read: Architecture) -> dict[str, TensorInfo]:
    """All tensors of all files, without buffers that transformers computes."""
    buffers = (layout.BUFFERS, *read.family.buffers)
    stored: dict[str, TensorInfo] = {}
    for file in files:
        for name, info in safetensors_header.read(file).items():
            if name.endswith(buffers):
                continue
            if name in stored:
                raise BrokenCheckpointError(
                    f"{name} is stored twice, in {stored[name].file.name} and {file.name}",
                    hint="the folder may mix files of two downloads: download the model again",
                )
            stored[name] = info
    return stored


def _check_tied(stored: Mapping[str, TensorInfo], read: Architecture) -> None:
    """Check that a stored head of a tied model equals the embedding bit for bit."""
    head = stored.get(f"{read.family.head}.weight")
    embedding = stored.get(f"{read.family.embedding}.weight")
    if not read.tied or head is None or embedding is None:
        return
    if head.shape != embedding.shape or head.dtype != embedding.dtype or _differ(head, embedding):
        raise BrokenCheckpointError(
            f"{CONFIG} ties {head.name} to {embedding.name}, but the stored tensors differ",
            hint="set tie_word_embeddings to false in config.json if the head is not tied",
        )


def _differ(first: TensorInfo, second: TensorInfo) -> bool:
    """Whether two tensors of the same shape and dtype differ; reads 16 MiB at a time."""
    left = first.bytes
    with first.file.open("rb") as one, second.file.open("rb") as two:
        one.seek(first.offset)
        two.seek(second.offset)
        while left > 0:
            size = min(left, BLOCK_BYTES)
            if one.read(size) != two.read(size):
                return True
            left -= size
    return False


def _check_shapes(stored: Mapping[str, TensorInfo], wanted: Mapping[str, tuple[int, ...]]) -> None:
    missing = [name for name in wanted if name not in stored]
    if missing:
        more = f" and {len(missing) - 1} more tensors" if len(missing) > 1 else ""
        other = next((info for name, info in stored.items() if name not in wanted), None)
        there = f"; {other.file.name} has {other.name} instead" if other else ""
        raise BrokenCheckpointError(
            f"the weights lack {missing[0]}{more}{there}",
            hint=f"save the tensors with the names of the model's family, or correct its {CONFIG}"
            if other
            else f"download the model again, or correct its {CONFIG}",
        )
    for name, shape in wanted.items():
        if stored[name].shape != shape:
            raise BrokenCheckpointError(
                f"{name} in {stored[name].file.name} has shape {list(stored[name].shape)}, "
                f"{CONFIG} says {list(shape)}",
                hint="config and weights may belong to different models: download both again",
            )


def _check_known(
    stored: Mapping[str, TensorInfo],
    wanted: Mapping[str, tuple[int, ...]],
    read: Architecture,
) -> None:
    tied = {f"{read.family.head}.weight"} if read.tied else set()
    unknown = [name for name in stored if name not in wanted and name not in tied]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise UnsupportedModelError(
            f"{unknown[0]} in {stored[unknown[0]].file.name}{more}: {read.family.prefix} models "
            "have no such tensor",
            hint="the model is not a standard member of its family; pruning would drop the tensor",
        )


def _dtype(tensors: Iterable[TensorInfo]) -> str:
    """The dtype of the tensors, which must be the same for all."""
    counts = Counter(info.dtype for info in tensors)
    if len(counts) > 1:
        found = ", ".join(f"{count} in {dtype}" for dtype, count in counts.most_common())
        raise UnsupportedModelError(
            f"the tensors have more than one dtype: {found}",
            hint="save the model in one dtype: AutoModelForCausalLM.from_pretrained(FOLDER, "
            f"dtype={counts.most_common(1)[0][0]!r}).save_pretrained(NEW_FOLDER)",
        )
    return next(iter(counts))
