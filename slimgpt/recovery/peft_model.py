"""Trainable weights of the pruned model: PEFT adapters or its layers; saving and merging."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slimgpt.checkpoints.families.architecture import Architecture
from slimgpt.checkpoints.families.family import Family
from slimgpt.machine import disk
from slimgpt.machine.precision import DTYPES
from slimgpt.spec.prune import RecoverySpec

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
ADAPTERS = "adapters"
BASE = "unrecovered"
"""Base model named in the adapters' config: the folder beside theirs."""


def enable_activation_checkpointing(model: Any) -> None:
    """Recompute activations in the backward pass instead of keeping them."""
    # Older name: before transformers 5.20.
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})
    model.enable_input_require_grads()  # the embedding is frozen; its output needs a gradient


def with_adapters(model: nn.Module, spec: RecoverySpec, family: Family) -> Any:
    """The model with new LoRA adapters in all linear layers of the decoder; the rest is frozen."""
    import peft

    torch.manual_seed(spec.seed)
    config = peft.LoraConfig(
        task_type=peft.TaskType.CAUSAL_LM,
        r=spec.rank,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        target_modules=[name.rpartition(".")[2] for name in family.linears],
        bias="none",
        fan_in_fan_out=family.transposed,
    )
    with warnings.catch_warnings():
        # peft uses a name that transformers deprecates.
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        return peft.get_peft_model(model, config)


def save_adapters(model: Any, folder: Path) -> None:
    """Write the adapters alone, in PEFT's format, without paths of this machine."""
    aside = folder.with_name(f".{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)
    model.save_pretrained(aside, save_embedding_layers=False)
    for entry in aside.iterdir():
        if entry.name not in ADAPTER_FILES:
            entry.unlink()  # a README that names a base model on a hub
    config = json.loads((aside / ADAPTER_FILES[0]).read_bytes())
    config["base_model_name_or_path"] = BASE
    disk.write_text(aside / ADAPTER_FILES[0], json.dumps(config, indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def with_layers(model: Any, family: Family) -> Any:
    """The model with trainable decoder layers in float32; all other weights are frozen."""
    model.requires_grad_(False)
    model.get_submodule(family.layers).float().requires_grad_(True)
    return model


def merged_layers(model: Any, architecture: Architecture) -> Iterator[dict[str, Tensor]]:
    """Each layer's trained tensors, adapters merged, by their names within the layer.

    Args:
        model: as returned by `with_adapters` or `with_layers`.
        architecture: of the checkpoint; its dtype is the tensors'.
    """
    merged = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
    state = merged.state_dict()
    for index in range(architecture.layers):
        prefix = architecture.family.layer_prefix(index)
        yield {
            name.removeprefix(prefix): tensor.detach()
            .cpu()
            .to(DTYPES[architecture.dtype])
            .contiguous()
            for name, tensor in state.items()
            if name.startswith(prefix)
        }
