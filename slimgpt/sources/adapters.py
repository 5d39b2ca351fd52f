"""Refuses models that contain an adapter, which transformers and PEFT would apply.

A folder with weights and `adapter_config.json` is ambiguous: `from_pretrained` applies the adapter,
reading the weights alone does not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from slimgpt.errors import UnsupportedModelError

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
PARTS = frozenset({"base_layer", "lora_A", "lora_B", "lora_embedding_A", "lora_magnitude_vector"})
"""Parts of tensor names in a model with unmerged adapters."""
MERGE = (
    "merge the adapter with the library peft: AutoPeftModelForCausalLM.from_pretrained(FOLDER)"
    ".merge_and_unload().save_pretrained(NEW_FOLDER), and prune NEW_FOLDER"
)


def refuse(names: Collection[str], model: str, weights: Collection[str]) -> None:
    """Check that the files of a model include no adapter.

    Args:
        names: files at the top of a folder or repository.
        model: name of the model for the message.
        weights: those of the files that contain a whole model's weights.

    Raises:
        UnsupportedModelError: there is an adapter; the message says whether there are weights too.
    """
    there = [name for name in (CONFIG, *WEIGHTS) if name in names]
    if there and weights:
        raise UnsupportedModelError(
            f"{model} contains an adapter ({there[0]}) in addition to its weights: transformers "
            "would apply it, pruning would not",
            hint=f"{MERGE}; or remove {there[0]} if it is already merged or not wanted",
        )
    if there:
        raise UnsupportedModelError(
            f"{model} contains an adapter ({there[0]}) and no weights of a model",
            hint=MERGE,
        )


def refuse_tensors(names: Iterable[str]) -> None:
    """Check that a model's tensors include no adapter.

    Raises:
        UnsupportedModelError: they do.
    """
    found = next((name for name in names if not PARTS.isdisjoint(name.split("."))), None)
    if found is not None:
        raise UnsupportedModelError(
            f"the weights contain an unmerged adapter ({found})",
            hint="call `model.merge_and_unload()` in the training code, save the returned model, "
            "and prune it",
        )
