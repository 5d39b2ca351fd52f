"""The published folder's files beside the weights: config, modelling file, tokenizer files.

The config is an edited copy of the parent's: the stock `model_type`, the dense sizes as global
fields, and every layer's sizes in `per_layer_config`; a small modelling file subclasses the stock
model to read them, so that common loaders work. Imports neither torch nor transformers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from slimgpt.checkpoints import tokenizer_checks
from slimgpt.checkpoints.checkpoint import CONFIG, Checkpoint
from slimgpt.checkpoints.families import architecture as architectures
from slimgpt.checkpoints.families import rope
from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.checkpoints.output import modeling
from slimgpt.checkpoints.output.modeling import MODELING
from slimgpt.machine.disk import copy, storage_errors, write_text
from slimgpt.sources import tokenizer_files

SETTINGS = "_config.json"
LEFT_BEHIND = (
    "_name_or_path",  # a path on the machine where the parent was saved
    # May name a kernel repository, whose code loaders would download and run.
    "attn_implementation",
    "_attn_implementation",
    "_attn_implementation_internal",
)
LEGAL = ("license", "licence", "notice", "copying", "use_policy")
LEGAL_SUFFIXES = ("", ".txt", ".md")


def write(checkpoint: Checkpoint, sizes: Sequence[LayerSize], folder: Path) -> None:
    """Write all files except the weights and `provenance.json`.

    Args:
        checkpoint: the parent, dense or pruned.
        sizes: the new size of each layer.

    Raises:
        ModelNotFoundError: a companion file is a link out of the folder for models.
        StorageError: the disk is full or cannot be written.
    """
    write_text(folder / CONFIG, json.dumps(config(checkpoint, sizes), indent=2) + "\n")
    write_text(folder / MODELING, modeling.source(checkpoint.architecture.family))
    copy_companions(checkpoint, folder)


def copy_companions(checkpoint: Checkpoint, folder: Path) -> None:
    """Copy tokenizer, processor, generation settings, chat templates and licence from the parent.

    Weights and code are not copied, nor the README, which has the parent's results.
    """
    location = checkpoint.location
    for entry in sorted(location.folder.iterdir()):
        if tokenizer_files.is_one(entry.name) and entry.name.endswith(SETTINGS):
            write_settings(location.file(entry.name), folder / entry.name)
        elif tokenizer_files.is_one(entry.name) or is_legal(entry.name):
            copy(location.file(entry.name), folder / entry.name)
    if (templates := tokenizer_checks.templates_of(location)) is not None:
        target = folder / tokenizer_files.TEMPLATES
        for entry in sorted(templates.folder.glob("*.jinja")):
            with storage_errors(target, 0):
                target.mkdir(exist_ok=True)
            copy(templates.file(entry.name), target / entry.name)


def write_settings(source: Path, target: Path) -> None:
    """Copy settings of the tokenizer, a processor or generation, without `auto_map`.

    The folder is loaded with `trust_remote_code` for the engine's modelling file; `auto_map` would
    make loaders download and run the parent's code as well.
    """
    try:
        settings = json.loads(source.read_bytes())
    except (ValueError, RecursionError):
        settings = None
    if isinstance(settings, dict) and settings.pop("auto_map", None) is not None:
        if (
            settings.get("tokenizer_class") == "BaichuanTokenizer"
        ):  # remote code, see `name_mapping`
            settings["tokenizer_class"] = "LlamaTokenizer"
        write_text(target, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
    else:
        copy(source, target)


def is_legal(name: str) -> bool:
    """Whether a file name is that of a licence, a notice or a use policy."""
    path = Path(name.lower())
    return path.stem.replace("-", "_").startswith(LEGAL) and path.suffix in LEGAL_SUFFIXES


def config(checkpoint: Checkpoint, sizes: Sequence[LayerSize]) -> dict[str, Any]:
    """The parent's config, edited to describe layers of the given sizes.

    Some settings are written with the keys of both transformers 4.57 and 5: `dtype` and
    `torch_dtype`; `rope_parameters`, and `rope_theta` with `rope_scaling`, without which 4.57
    silently computes other positions.
    """
    edited = deepcopy(checkpoint.config)
    for name in LEFT_BEHIND:
        edited.pop(name, None)
    architecture = checkpoint.architecture
    family = architecture.family
    edited |= rope.written(checkpoint.config, family)
    edited |= {
        "architectures": [modeling.causal_class(family)],
        "auto_map": modeling.auto_map(family),
        "allow_global_per_layer_attribute_access": True,
        "dtype": architecture.dtype,
        "torch_dtype": architecture.dtype,
        "per_layer_config": {
            str(index): architectures.overrides(family, size) for index, size in enumerate(sizes)
        },
    }
    keys, dense = family.keys, architectures.dense(family, checkpoint.config)
    if keys.kv_heads and edited.get(keys.kv_heads) is None:
        edited[keys.kv_heads] = dense.kv_heads
    if edited.get(keys.channels) is None:
        edited[keys.channels] = dense.channels
    edited |= dict.fromkeys(family.experts, architecture.experts)
    if not family.spanning:
        edited["head_dim"] = architecture.head_dim
    return edited
