"""What the published folder holds beside weights: config, modelling file, the parent's companions.

Users' first complaint about pruning tools is that nothing loads the result. So the config stays
the parent's own, edited: the stock `model_type` and the dense sizes as global fields, and every
layer's sizes in `per_layer_config`; a small file subclasses the stock model to read them. Imports
neither torch nor transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from importlib import resources
from pathlib import Path
from typing import Any

from slimgpt.checkpoints.architecture import LayerSize
from slimgpt.checkpoints.checkpoint import CONFIG, Checkpoint
from slimgpt.checkpoints.families import Family
from slimgpt.disk import copy, write_text

MODELING = "modeling_slimgpt.py"
DEFAULT_THETA = 10000.0  # of all supported families, in every version of transformers
COMPANIONS = frozenset(
    {
        "added_tokens.json",
        "chat_template.jinja",
        "chat_template.json",
        "generation_config.json",
        "merges.txt",
        "special_tokens_map.json",
        "tekken.json",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "vocab.json",
    }
)
LEGAL = ("license", "licence", "notice", "copying", "use_policy")
LEGAL_SUFFIXES = ("", ".txt", ".md")


def write(checkpoint: Checkpoint, sizes: Sequence[LayerSize], folder: Path) -> None:
    """Write everything but the weights and the provenance.

    Args:
        checkpoint: the parent, dense or pruned.
        sizes: what is left of each of its layers.

    Raises:
        ModelNotFoundError: a companion file is a link out of the folder for models.
        StorageError: the disk is full or cannot be written.
    """
    write_config(checkpoint, sizes, folder)
    write_modeling(checkpoint.architecture.family, folder)
    copy_companions(checkpoint, folder)


def write_config(checkpoint: Checkpoint, sizes: Sequence[LayerSize], folder: Path) -> None:
    """Write `config.json` (see `config`)."""
    write_text(folder / CONFIG, json.dumps(config(checkpoint, sizes), indent=2) + "\n")


def write_modeling(family: Family, folder: Path) -> None:
    """Write the family's modelling file: the one for Llama with the family's class names in it."""
    text = (
        resources.files("slimgpt.checkpoints.modeling")
        .joinpath(MODELING)
        .read_text(encoding="utf-8")
    )
    own = text.replace("llama.modeling_llama", f"{family.model_type}.modeling_{family.model_type}")
    write_text(folder / MODELING, own.replace("Llama", family.prefix))


def copy_companions(checkpoint: Checkpoint, folder: Path) -> None:
    """Copy tokenizer, generation settings, chat templates and licence from the parent.

    Weights and code are not copied, and no README: it would claim the parent's numbers.
    """
    for entry in sorted(checkpoint.folder.iterdir()):
        if entry.name in COMPANIONS or is_legal(entry.name):
            copy(checkpoint.location.file(entry.name), folder / entry.name)


def is_legal(name: str) -> bool:
    """Whether a file is a licence, a notice or a use policy by its name."""
    path = Path(name.lower())
    return path.stem.replace("-", "_").startswith(LEGAL) and path.suffix in LEGAL_SUFFIXES


def config(checkpoint: Checkpoint, sizes: Sequence[LayerSize]) -> dict[str, Any]:
    """The parent's config, edited to describe layers of the given sizes.

    Written twice, for transformers 4.57 and for 5: `dtype` and `torch_dtype`; `rope_parameters`,
    and `rope_theta` with `rope_scaling`, without which 4.57 computes something else in silence.
    """
    edited = deepcopy(checkpoint.config)
    edited.pop("_name_or_path", None)  # a path of the machine where the parent was saved
    architecture = checkpoint.architecture
    prefix = f"SlimGPT{architecture.family.prefix}"
    module = MODELING.removesuffix(".py")
    edited |= _rope(checkpoint.config)
    edited |= {
        "architectures": [f"{prefix}ForCausalLM"],
        "auto_map": {
            "AutoModel": f"{module}.{prefix}Model",  # vLLM asks for it
            "AutoModelForCausalLM": f"{module}.{prefix}ForCausalLM",
        },
        "allow_global_per_layer_attribute_access": True,
        "dtype": architecture.dtype,
        "torch_dtype": architecture.dtype,
        "head_dim": architecture.head_dim,
        "num_key_value_heads": edited.get("num_key_value_heads") or edited["num_attention_heads"],
        "per_layer_config": {str(index): _overrides(size) for index, size in enumerate(sizes)},
    }
    return edited


def _overrides(size: LayerSize) -> dict[str, int]:
    return {
        "intermediate_size": size.channels,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.kv_heads,
    }


def _rope(parent: Mapping[str, Any]) -> dict[str, Any]:
    """Rotary positions as transformers 5 and as 4.57 read them.

    Where a config has both, transformers 5 lets a `rope_scaling` that is not null go first.
    """
    given = dict(parent.get("rope_scaling") or parent.get("rope_parameters") or {})
    theta = given.pop("rope_theta", None) or parent.get("rope_theta") or DEFAULT_THETA
    kind = given.pop("rope_type", None) or given.pop("type", None) or "default"
    given.pop("type", None)
    return {
        "rope_parameters": {"rope_type": kind, "rope_theta": theta, **given},
        "rope_theta": theta,
        "rope_scaling": None if kind == "default" else {"rope_type": kind, **given},
    }
