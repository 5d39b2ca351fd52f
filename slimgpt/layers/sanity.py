"""Whether a model can be built from its config and computes numbers: asked before any work.

Most values of a config are read by what surrounds the layers, by `generate`, or by one layer in
the middle; and a NaN may sit where only the output head meets it. Found late, either costs hours.
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
from slimgpt.errors import NumericalError, UnsupportedModelError
from slimgpt.layers.stack import Stack
from slimgpt.texts.tokenization.tokenizer import no_layers_are_built

GENERATION = "generation_config.json"


def build(checkpoint: Checkpoint) -> None:
    """Build the whole model as it will be published, at its present size, without memory for it.

    Raises:
        UnsupportedModelError: transformers cannot, or cannot read the settings for generation.
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
    except Exception as error:  # whatever transformers says of values it does not know
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UnsupportedModelError(
            f"{name}: transformers cannot build the model: {reason[-1]}",
            hint="check the file against the model's own; a newer transformers may know it",
        ) from error


@torch.no_grad()
def compute(
    stack: Stack,
    token_ids: Tensor,  # (batch, seq) int64
) -> Generator[int, None, None]:
    """Run the whole model on a few tokens, and see that every number is finite.

    Yields:
        how many layers are done.

    Raises:
        NumericalError: one is not; says after which part of the model, and which tensor holds it.
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
    torn = next((n for n in names if not checkpoint.load([n])[n].isfinite().all()), None)
    raise NumericalError(
        f"the model itself gives NaN or infinity after {place}"
        + (f": {torn} holds one" if torn else ", although its weights there are finite"),
        hint="download the model again, or choose another revision"
        if torn
        else f"{checkpoint.architecture.dtype} is too narrow: save it in bfloat16 or float32",
    )
