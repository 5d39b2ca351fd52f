"""The loaders that can time generation: transformers always, vLLM where installed.

vLLM is looked up without importing it; only the processes that use it import it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import packages_distributions, version
from pathlib import Path

import torch
import transformers

from slimgpt.checkpoints.families.architecture import Architecture
from slimgpt.machine.precision import DTYPES
from slimgpt.spec.prune import InferenceSpec
from slimgpt.verification.processes.vllm_timing import MemoryBudget

ROOM = 1.25  # times the weights: weights and the activations of a batch
BLOCK = 256  # tokens, an upper limit of vLLM's KV cache block size


@dataclass(frozen=True)
class Model:
    """A model to load: its folder, made by `checkpoints.output.whole_model`, and architecture."""

    folder: Path
    architecture: Architecture

    @property
    def weights_bytes(self) -> int:
        """Bytes of the weights on the disk."""
        return sum(file.stat().st_size for file in self.folder.glob("*.safetensors"))


@dataclass(frozen=True)
class Loader:
    """A library that loads and runs a model.

    Attributes:
        name: name and version.
        arguments: module of `verification.processes` that holds a model, and its arguments after
            the parent's id.
        memory_bytes: device memory that the process needs, in bytes.
    """

    name: str
    arguments: Callable[[Model, torch.device, InferenceSpec], Sequence[str]]
    memory_bytes: Callable[[Model, InferenceSpec], int]


def installed() -> list[Loader]:
    """The installed loaders; transformers is first, and comparisons use its times."""
    name = vllm()
    return (
        [TRANSFORMERS] if name is None else [TRANSFORMERS, Loader(name, _vllm_words, _vllm_bytes)]
    )


def vllm() -> str | None:
    """Name and version of vLLM; None if it is not installed."""
    if importlib.util.find_spec("vllm") is None:
        return None
    # Builds for devices other than CUDA have other distribution names.
    names = packages_distributions().get("vllm", [])
    return f"vllm {version(names[0])}" if names else "vllm"


def transformers_arguments(model: Model, device: torch.device) -> Sequence[str]:
    """What the processes that load a model with transformers are given after the parent's id."""
    family, dtype = model.architecture.family.model_type, model.architecture.dtype
    return str(model.folder), family, dtype, str(device), str(torch.get_num_threads())


def _transformers_words(model: Model, device: torch.device, spec: InferenceSpec) -> Sequence[str]:
    return "transformers_timing", *transformers_arguments(model, device)


def _transformers_bytes(model: Model, spec: InferenceSpec) -> int:
    return round(model.weights_bytes * ROOM)


def memory_budget(model: Model, spec: InferenceSpec) -> MemoryBudget:
    """The memory that vLLM needs for a model and the largest request."""
    return MemoryBudget(
        batch=max(spec.batch_sizes),
        tokens=spec.prompt_tokens + spec.new_tokens,
        cache_bytes=_cache_bytes(model.architecture, spec),
        device_bytes=_vllm_bytes(model, spec),
    )


def _vllm_words(model: Model, device: torch.device, spec: InferenceSpec) -> Sequence[str]:
    dtype, budget = model.architecture.dtype, memory_budget(model, spec).model_dump_json()
    return "vllm_timing", str(model.folder), dtype, str(device), budget


def _vllm_bytes(model: Model, spec: InferenceSpec) -> int:
    return round(model.weights_bytes * ROOM) + _cache_bytes(model.architecture, spec)


def _cache_bytes(architecture: Architecture, spec: InferenceSpec) -> int:
    """Bytes of the KV cache for the largest batch plus one sequence.

    vLLM uses one block size for all layers, so the layer with the most KV heads decides.
    """
    blocks = -(-(spec.prompt_tokens + spec.new_tokens) // BLOCK) * (max(spec.batch_sizes) + 1)
    heads = max(size.kv_heads for size in architecture.sizes)
    a_token = 2 * heads * architecture.head_dim * DTYPES[architecture.dtype].itemsize
    return architecture.layers * a_token * blocks * BLOCK


TRANSFORMERS = Loader(
    f"transformers {transformers.__version__}", _transformers_words, _transformers_bytes
)
