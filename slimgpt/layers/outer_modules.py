"""`OuterModules`: embedding, masks, rotary positions, final norm and output head of a model.

They are computed by transformers' class of the family, so scaled embeddings, learned positions,
sliding windows, soft caps and logit multipliers need no code here.

Names end in their shape: B batch, S sequence, D d_model, V vocabulary.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig
from transformers.initialization import no_init_weights

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.layers.block import Call, calls_of


class OuterModules:
    """Transformers' model of a checkpoint, without its layers.

    Args:
        checkpoint: where weights are read from.
        config: config for transformers' classes.
        modeling: the modelling file of the family (`checkpoints.output.modeling`).
        device: where layers and the output head run.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        config: PretrainedConfig,
        modeling: ModuleType,
        device: torch.device,
    ) -> None:
        self._checkpoint = checkpoint
        self._family = checkpoint.architecture.family
        self._config = config
        self._modeling = modeling
        self._device = device

    def embed(self, batches: Iterable[Tensor]) -> list[Tensor]:
        """Residual stream before the first layer, (B, S, D), for batches of token ids (B, S).

        Computed, and returned, on the CPU.
        """
        model = self._model(0, torch.device("cpu"), self._names(embedding=True))
        return [self._first_call(model, input_ids=ids_BS)[0] for ids_BS in batches]

    def call(self, index: int, hidden_BSD: Tensor) -> Call:
        """Keyword arguments that the model passes to layer `index` for a batch of this shape."""
        model = self._model(index, self._device, self._names())
        return self._first_call(model, inputs_embeds=hidden_BSD)[1]

    def head(self) -> Callable[[Tensor], Tensor]:
        """Final norm and output head: hidden (B, S, D) → logits (B, S, V)."""
        model = self._model(None, self._device, self._names(head=True))

        def logits(hidden_BSD: Tensor) -> Tensor:
            norm = model.get_submodule(self._family.final_norm)
            handle = norm.register_forward_pre_hook(lambda *_: (hidden_BSD,))
            try:
                found_BSV: Tensor = model(inputs_embeds=hidden_BSD, use_cache=False).logits
            finally:
                handle.remove()
            return found_BSV

        return logits

    def _names(self, *, embedding: bool = False, head: bool = False) -> list[str]:
        """Names of the tensors outside the layers; large tables only if asked for."""
        tied = self._checkpoint.architecture.tied
        tables = {
            f"{self._family.embedding}.weight": embedding or (head and tied),
            f"{self._family.head}.weight": head,
        }
        return [name for name in self._checkpoint.outer_names() if tables.get(name, True)]

    def _model(self, index: int | None, device: torch.device, names: Sequence[str]) -> Any:
        """The model with a placeholder for layer `index`, or with no layer; loads `names`.

        Other weights stay uninitialised and, as nothing touches their pages, take no memory.
        """
        config = copy.deepcopy(self._config)
        stock: Any = getattr(self._modeling.stock, self._family.prefix + self._family.causal_suffix)
        with no_init_weights(), self._modeling.without_layers(config):
            model = stock(config).eval()
        config.num_hidden_layers = 0 if index is None else 1
        if index is not None:
            if getattr(config, "layer_types", None):
                config.layer_types = [config.layer_types[index]]
            place, _, name = self._family.layers.rpartition(".")
            setattr(model.get_submodule(place), name, nn.ModuleList([nn.Identity()]))
        for module in model.modules():
            for name, buffer in module._buffers.items():
                module._buffers[name] = None if buffer is None else buffer.to(device)
        self._load(model, names, device)
        return model

    def _load(self, model: Any, names: Sequence[str], device: torch.device) -> None:
        family = self._family
        tensors = self._checkpoint.load(names, device=str(device))
        head = tensors.pop(f"{family.head}.weight", None)
        embedding = tensors.get(f"{family.embedding}.weight")
        if head is None and self._checkpoint.architecture.tied:
            head = embedding
        model.load_state_dict(tensors, strict=False, assign=True)
        if head is not None:
            model.get_output_embeddings().weight = nn.Parameter(head, requires_grad=False)

    def _first_call(self, model: Any, **given: Tensor) -> tuple[Tensor, Call]:
        """Residual stream and keyword arguments that the model passes to its first layer."""
        layer = model.get_submodule(self._family.layers)[0]
        ((args, call),) = calls_of([layer], lambda: model(use_cache=False, **given))
        return args[0], {**self._named(args[1:]), **call}

    def _named(self, args: tuple[Any, ...]) -> Call:
        """Positional arguments of a layer after the hidden state, by parameter name."""
        layer = getattr(self._modeling.stock, self._family.prefix + self._family.layer_suffix)
        names = list(inspect.signature(layer.forward).parameters)[2:]
        return dict(zip(names, args, strict=False))
