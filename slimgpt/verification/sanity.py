"""Checks before any work: can the model be built from its config, and are its outputs finite?

An invalid config value or a NaN in the weights may affect only `generate`, the output head or one
layer in the middle. Without these checks a job would find it after hours.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable

import torch
from torch import Tensor
from transformers import AutoConfig, GenerationConfig
from transformers.initialization import no_init_weights

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.output import folder as published
from slimgpt.checkpoints.output import modeling
from slimgpt.errors import NumericalError
from slimgpt.layers.stack import Stack, invalid_config
from slimgpt.sources.tokenizer_files import GENERATION
from slimgpt.texts.tokenization.tokenizer import no_layers_are_built


def build(checkpoint: Checkpoint) -> None:
    """Build the model as it will be published, at its dense size, on the meta device.

    Raises:
        UnsupportedModelError: transformers cannot build the model from `config.json`, or cannot
            read `generation_config.json`.
    """
    architecture, name = checkpoint.architecture, "config.json"
    try:
        written = published.config(checkpoint, architecture.sizes)
        written.pop("auto_map")
        with no_layers_are_built(), no_init_weights(), torch.device("meta"):
            causal = modeling.causal_class(architecture.family)
            getattr(modeling.load(architecture.family), causal)(AutoConfig.for_model(**written))
        if checkpoint.location.has(GENERATION):
            name = GENERATION
            GenerationConfig.from_pretrained(checkpoint.folder, local_files_only=True)
    except Exception as error:
        raise invalid_config(name, error) from error


@torch.no_grad()
def compute(
    stack: Stack,
    token_ids: Tensor,  # (batch, seq) int64
) -> Generator[int, None, None]:
    """Run the model on a few tokens and check that all activations are finite.

    Yields:
        the number of finished layers.

    Raises:
        NumericalError: an activation is NaN or infinite; names the part of the model after which,
            and the tensor that contains it, if one does.
    """
    checkpoint = stack.checkpoint
    hidden = torch.cat(stack.embed(token_ids)).to(stack.device)
    _require_finite(hidden, "the embedding", checkpoint, checkpoint.outer_names())
    for index in range(stack.architecture.layers):
        hidden = stack.layer(index).forward(hidden, stack.call(index, hidden))
        _require_finite(hidden, f"layer {index}", checkpoint, checkpoint.layer_names(index))
        yield index + 1
    head = "the final norm and the output head"
    _require_finite(stack.head()(hidden), head, checkpoint, checkpoint.outer_names())


def _require_finite(
    values: Tensor, place: str, checkpoint: Checkpoint, names: Iterable[str]
) -> None:
    if bool(values.isfinite().all()):
        return
    tensor = next((n for n in names if not checkpoint.load([n])[n].isfinite().all()), None)
    raise NumericalError(
        f"the model itself gives NaN or infinity after {place}"
        + (f": {tensor} holds one" if tensor else ", although its weights there are finite"),
        hint="download the model again, or choose another revision"
        if tensor
        else f"{checkpoint.architecture.dtype} is too narrow: save it in bfloat16 or float32",
    )
