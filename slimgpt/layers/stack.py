"""`Stack`: a model as a sequence of decoder layers, loaded one at a time.

The stack builds layers on demand and keeps none. "Stock" means transformers' own classes: layers
are built from them, and `OuterModules` runs what is outside the layers.

Names end in their shape: B batch, S sequence, D d_model, V vocabulary, N sequences in all.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from transformers import AutoConfig, PretrainedConfig
from transformers.initialization import no_init_weights

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.families import architecture as architectures
from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.checkpoints.output import modeling
from slimgpt.checkpoints.output.partial import PartialCheckpoint
from slimgpt.errors import UnsupportedModelError
from slimgpt.layers import surgery
from slimgpt.layers.block import Block, Call, Step
from slimgpt.layers.outer_modules import OuterModules
from slimgpt.machine.precision import DTYPES
from slimgpt.machine.ranks import Ranks
from slimgpt.machine.transfers import Transfers
from slimgpt.planning.forecast import BATCH_TOKENS

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")
PRUNED_KEYS = ("auto_map", "per_layer_config", "allow_global_per_layer_attribute_access")


class Stack:
    """A checkpoint's model, layer by layer.

    Args:
        checkpoint: source of the config and of the tensors outside the layers.
        device: where layers run.
        sizes: sizes of the layers of a pruned model; by default the checkpoint's.
        read_layer: layer index → its tensors on the device; by default the checkpoint's.
        ranks: the processes that share the batches; by default only this one.

    Raises:
        UnsupportedModelError: transformers cannot build the model from the config.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: torch.device,
        *,
        sizes: Sequence[LayerSize] | None = None,
        read_layer: Callable[[int], dict[str, Tensor]] | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.architecture = checkpoint.architecture
        self.device = device
        self.ranks = ranks or Ranks(device)
        self._sizes = tuple(sizes or checkpoint.architecture.sizes)
        self.read_layer = read_layer or (lambda i: checkpoint.layer(i, device=str(device)))
        self.parallel = self.architecture.family.is_parallel(checkpoint.config)
        self._modeling = modeling.load(self.architecture.family)
        self._config = self._checked_config()
        self._outer = OuterModules(checkpoint, self._config, self._modeling, device)
        self.transfers = Transfers(device)
        self._calls: dict[tuple[str, torch.Size], Call] = {}

    def layer(self, index: int) -> Block:
        """Layer `index`, read from its file."""
        return self.build(index, self._sizes[index], self.read_layer(index))

    def build(self, index: int, size: LayerSize, tensors: dict[str, Tensor]) -> Block:
        """Layer `index` at `size` with the given tensors.

        Raises:
            RuntimeError: names or shapes of the tensors are not those of such a layer.
        """
        module = self._empty_layer(index, size)
        loaded = surgery.fused(tensors, self.architecture)
        module.load_state_dict(loaded, strict=True, assign=True)
        return Block(module.eval(), self.architecture.family, parallel=self.parallel)

    def call(self, index: int, hidden_BSD: Tensor) -> Call:
        """Keyword arguments that the stock model passes to layer `index` for a batch of this shape.

        Cached by the layer's attention type and the shape.
        """
        kinds = getattr(self._config, "layer_types", None)
        key = (kinds[index] if kinds else "", hidden_BSD.shape)
        if key not in self._calls:
            self._calls[key] = self._outer.call(index, hidden_BSD)
        return self._calls[key]

    def embed(self, token_ids_NS: Tensor) -> list[Tensor]:
        """Residual stream before the first layer, in batches of at most 4096 tokens.

        Args:
            token_ids_NS: int64.

        Returns:
            batches (B, S, D) of one or more sequences, checkpoint dtype, on the device if it has
            room, else on the host.
        """
        if not len(token_ids_NS):
            return []
        return self.transfers.kept(self._outer.embed(_batches(token_ids_NS)))

    def share(self, token_ids_NS: Tensor) -> Tensor:
        """This rank's sequences, in whole batches of `embed`; empty only in ranks after the first.

        So the number of ranks does not change how sequences are batched.
        """
        batches = self.ranks.share(_batches(token_ids_NS))
        return torch.cat(list(batches)) if batches else token_ids_NS[:0]

    def advance(self, index: int, step: Step, batches: list[Tensor]) -> None:
        """Replace each batch by the output of `step`: `Block.forward` or a half of layer `index`.

        Args:
            batches: (B, S, D) each, as of `embed`.
        """
        for position, hidden_BSD in self.transfers.each(batches):
            result_BSD = step(hidden_BSD, self.call(index, hidden_BSD))
            batches[position] = self.transfers.back(result_BSD, batches[position])

    def head(self) -> Callable[[Tensor], Tensor]:
        """Final norm and output head: residual stream (B, S, D) → logits (B, S, V)."""
        return self._outer.head()

    @torch.no_grad()
    def logits(self, token_ids_BS: Tensor) -> Tensor:
        """Logits of one batch through all layers, (B, S, V) on the CPU."""
        hidden_BSD = torch.cat(self.embed(token_ids_BS)).to(self.device)
        for index in range(self.architecture.layers):
            call = self.call(index, hidden_BSD)
            hidden_BSD = self.layer(index).forward(hidden_BSD, call)
        return self.head()(hidden_BSD).cpu()

    def _checked_config(self) -> PretrainedConfig:
        """The config for the stock classes, after building a model and a layer from it."""
        try:
            self._config = _stock_config(self.checkpoint)
            stock = getattr(self._modeling, modeling.causal_class(self.architecture.family))
            self._config._attn_implementation = "sdpa" if stock._supports_sdpa else "eager"
            self._build_outer()
            self._empty_layer(0, self.architecture.sizes[0])
        except Exception as error:
            raise invalid_config("config.json", error) from error
        return self._config

    def _build_outer(self) -> None:
        """Build the stock model without layers; this also sets the implementation of experts.

        Other implementations round differently.
        """
        family = self.architecture.family
        stock = getattr(self._modeling.stock, family.prefix + family.causal_suffix)
        with no_init_weights(), torch.device("meta"), self._modeling.without_layers(self._config):
            stock(self._config)

    def _empty_layer(self, index: int, size: LayerSize) -> nn.Module:
        """The stock layer at its size, with its weights on the meta device."""
        own = copy.copy(self._config)
        for key, value in architectures.overrides(self.architecture.family, size).items():
            setattr(own, key, value)
        with torch.device("meta"):
            module: nn.Module = self._modeling.sized_layer(self._config, own, index)
        return module


@dataclass(frozen=True)
class StoredModel:
    """The files of a model; unlike a `Stack`, it can be pickled and sent to other ranks.

    Attributes:
        checkpoint: the model, or the model that it was pruned from.
        sizes: sizes of the layers of a pruned model.
        partial: the layers of a pruned model.
    """

    checkpoint: Checkpoint
    sizes: tuple[LayerSize, ...] | None = None
    partial: PartialCheckpoint | None = None

    def stack(self, ranks: Ranks) -> Stack:
        """The model's stack, which reads layers from disk."""
        partial, device = self.partial, ranks.device
        read = None if partial is None else lambda i: partial.layer(i, device=str(device))
        return Stack(self.checkpoint, device, sizes=self.sizes, read_layer=read, ranks=ranks)

    def run(
        self,
        ranks: Ranks,
        function: Callable[Concatenate[Stack, P], Generator[T, None, R]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Generator[T, None, R]:
        """Run a generator function in all ranks, with the stack first; see `Ranks.together`."""
        return ranks.together(_over_stack, self, function, args, kwargs)


def _over_stack(
    ranks: Ranks,
    model: StoredModel,
    function: Callable[..., Generator[T, None, R]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Generator[T, None, R]:
    return function(model.stack(ranks), *args, **kwargs)


def invalid_config(name: str, error: Exception) -> UnsupportedModelError:
    """The error for whatever transformers raises for a config that it cannot use.

    Args:
        name: of the file.
    """
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return UnsupportedModelError(
        f"{name}: transformers cannot build the model: {reason[-1]}",
        hint="check the file against the model's own; a newer transformers may know it",
    )


def _batches(token_ids_NS: Tensor) -> tuple[Tensor, ...]:
    return torch.split(token_ids_NS, max(1, BATCH_TOKENS // token_ids_NS.shape[1]))


def _stock_config(checkpoint: Checkpoint) -> PretrainedConfig:
    """The checkpoint's config as transformers' config class, without what pruning added."""
    raw = {key: value for key, value in checkpoint.config.items() if key not in PRUNED_KEYS}
    if not checkpoint.architecture.family.spanning:
        raw["head_dim"] = checkpoint.architecture.head_dim
    config = AutoConfig.for_model(**raw)
    config.dtype = DTYPES[checkpoint.architecture.dtype]
    return config
