"""What learns of the pruned model: adapters of PEFT, or its layers; saving and merging it."""

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
"""What the adapters say they belong to: the folder beside theirs."""


def spare_memory(model: Any) -> None:
    """Compute activations again on the way back instead of keeping them."""
    # The second is the first one's name before transformers 5.20.
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})
    model.enable_input_require_grads()  # the embedding does not learn, yet gradients pass it


def with_adapters(model: nn.Module, spec: RecoverySpec, family: Family) -> Any:
    """The model with fresh adapters in every linear layer of its decoder; only they learn."""
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
        # peft asks the model by a name that transformers is about to change.
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        return peft.get_peft_model(model, config)


def save_adapters(model: Any, folder: Path) -> None:
    """Write the adapters alone, as peft reads them; nothing of this machine's paths."""
    aside = folder.with_name(f".{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)
    model.save_pretrained(aside, save_embedding_layers=False)
    for entry in aside.iterdir():
        if entry.name not in ADAPTER_FILES:
            entry.unlink()  # a README that claims the base is on a hub
    config = json.loads((aside / ADAPTER_FILES[0]).read_bytes())
    config["base_model_name_or_path"] = BASE
    disk.write_text(aside / ADAPTER_FILES[0], json.dumps(config, indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def with_layers(model: Any, family: Family) -> Any:
    """The model, of which all weights of the decoder layers learn, in float32, and no others."""
    model.requires_grad_(False)
    model.get_submodule(family.layers).float().requires_grad_(True)
    return model


def merged_layers(model: Any, architecture: Architecture) -> Iterator[dict[str, Tensor]]:
    """Every layer's tensors with what was learned, by their names within the layer.

    Args:
        model: of `with_adapters` or `with_layers`.
        architecture: of the checkpoint, whose dtype they get.
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
