"""The loaders that can time generation: transformers always, vLLM where installed.

Looks without importing: vLLM is imported by the processes that use it alone.
"""

from __future__ import annotations

import importlib.util
import sys
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

ROOM = 1.25  # weights, and the activations of a batch
BLOCK = 256  # tokens; no block of vLLM's caches is larger


@dataclass(frozen=True)
class Model:
    """A model to be timed: its folder, made by `checkpoints.whole`, and what it is like."""

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
        name: with its version.
        arguments: of the process that holds a model, after its parent's id: module first.
        memory_bytes: that such a process takes on the device.
    """

    name: str
    arguments: Callable[[Model, torch.device, InferenceSpec], Sequence[str]]
    memory_bytes: Callable[[Model, InferenceSpec], int]


def installed() -> list[Loader]:
    """Those that are there; transformers is the first, and its times are those of comparisons."""
    name = vllm()
    return (
        [TRANSFORMERS] if name is None else [TRANSFORMERS, Loader(name, _vllm_words, _vllm_bytes)]
    )


def command(module: str) -> list[str]:
    """The command that runs a module in a Python of its own."""
    return [sys.executable, "-m", module]


def vllm() -> str | None:
    """vLLM with its version; None where it is not installed."""
    if importlib.util.find_spec("vllm") is None:
        return None
    # The builds for other devices than CUDA's are distributions of other names.
    names = packages_distributions().get("vllm", [])
    return f"vllm {version(names[0])}" if names else "vllm"


def _transformers_words(model: Model, device: torch.device, spec: InferenceSpec) -> Sequence[str]:
    family, dtype = model.architecture.family.model_type, model.architecture.dtype
    threads = str(torch.get_num_threads())
    return (
        "slimgpt.verification.processes.transformers_timing",
        str(model.folder),
        family,
        dtype,
        str(device),
        threads,
    )


def _transformers_bytes(model: Model, spec: InferenceSpec) -> int:
    return round(model.weights_bytes * ROOM)


def memory_budget(model: Model, spec: InferenceSpec) -> MemoryBudget:
    """What vLLM needs for a model and the largest request."""
    return MemoryBudget(
        batch=max(spec.batch_sizes),
        tokens=spec.prompt_tokens + spec.new_tokens,
        cache_bytes=_cache_bytes(model.architecture, spec),
        device_bytes=_vllm_bytes(model, spec),
    )


def _vllm_words(model: Model, device: torch.device, spec: InferenceSpec) -> Sequence[str]:
    dtype, budget = model.architecture.dtype, memory_budget(model, spec).model_dump_json()
    return (
        "slimgpt.verification.processes.vllm_timing",
        str(model.folder),
        dtype,
        str(device),
        budget,
    )


def _vllm_bytes(model: Model, spec: InferenceSpec) -> int:
    return round(model.weights_bytes * ROOM) + _cache_bytes(model.architecture, spec)


def _cache_bytes(architecture: Architecture, spec: InferenceSpec) -> int:
    """Of the keys and values of the largest batch, and of one sequence to spare.

    vLLM gives blocks of one size to all layers, so the one with most KV heads decides.
    """
    blocks = -(-(spec.prompt_tokens + spec.new_tokens) // BLOCK) * (max(spec.batch_sizes) + 1)
    heads = max(size.kv_heads for size in architecture.sizes)
    a_token = 2 * heads * architecture.head_dim * DTYPES[architecture.dtype].itemsize
    return architecture.layers * a_token * blocks * BLOCK


TRANSFORMERS = Loader(
    f"transformers {transformers.__version__}", _transformers_words, _transformers_bytes
)
