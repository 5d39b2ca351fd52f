"""Adapters where a model is expected: transformers and PEFT apply them, pruning would not.

A folder with weights and `adapter_config.json` is two models: `from_pretrained` gives the one with
the adapter, the weights alone are the other. So neither is taken unasked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from slimgpt.errors import UnsupportedModelError

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
PARTS = frozenset({"base_layer", "lora_A", "lora_B", "lora_embedding_A", "lora_magnitude_vector"})
"""Of names of tensors in a model with adapters that are not merged."""
MERGE = (
    "merge it: AutoPeftModelForCausalLM.from_pretrained(FOLDER).merge_and_unload()"
    ".save_pretrained(NEW_FOLDER) (of the library peft), and prune the result"
)


def refuse(names: Collection[str], model: str, weights: Collection[str]) -> None:
    """See that no adapter lies among the files of a model.

    Args:
        names: of the files at the top of a folder or repository.
        model: what to call it, for the message.
        weights: those of them that hold a whole model's weights.

    Raises:
        UnsupportedModelError: one does; says whether there is a model beside it.
    """
    there = [name for name in (CONFIG, *WEIGHTS) if name in names]
    if there and weights:
        raise UnsupportedModelError(
            f"{model} holds an adapter ({there[0]}) beside its weights: transformers would apply "
            "it, and the weights alone are another model",
            hint=f"{MERGE}; or remove {there[0]} where it is merged already or not wanted",
        )
    if there:
        raise UnsupportedModelError(
            f"{model} holds an adapter ({there[0]}), not a model: the weights are its base model's",
            hint=MERGE,
        )


def refuse_tensors(names: Iterable[str]) -> None:
    """See that no adapter lies among a model's tensors.

    Raises:
        UnsupportedModelError: one does.
    """
    found = next((name for name in names if not PARTS.isdisjoint(name.split("."))), None)
    if found is not None:
        raise UnsupportedModelError(
            f"the weights hold an adapter that is not merged ({found})",
            hint="call `model.merge_and_unload()` where it was trained, save what it returns, and "
            "prune that",
        )
