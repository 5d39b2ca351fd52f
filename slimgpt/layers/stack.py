"""A model as a stack of layers that are loaded one at a time.

The stack gives what surrounds a layer (embedding, masks, rotary positions, final norm, output
head) and builds layers on demand; it never holds more than the caller does. Masks and positions
come from the stock model itself: its body runs once around a layer that only writes down how it
was called.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, PretrainedConfig

from slimgpt.checkpoints.architecture import LayerSize
from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.errors import UnsupportedModelError
from slimgpt.layers.block import Block
from slimgpt.planning.forecast import BATCH_TOKENS
from slimgpt.precision import DTYPES

ReadLayer = Callable[[int], dict[str, Tensor]]
PRUNED_KEYS = ("auto_map", "per_layer_config", "allow_global_per_layer_attribute_access")


class Stack:
    """A checkpoint's model, layer by layer.

    Args:
        checkpoint: where the config and everything outside the layers come from.
        device: where layers run.
        sizes: of the layers, where they are not the checkpoint's own (half-pruned models).
        read_layer: layer index → its tensors on the device; the checkpoint's own by default.

    Raises:
        UnsupportedModelError: transformers cannot build a layer from the config.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: torch.device,
        *,
        sizes: Sequence[LayerSize] | None = None,
        read_layer: ReadLayer | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.architecture = checkpoint.architecture
        self.device = device
        self._sizes = tuple(sizes or checkpoint.architecture.sizes)
        self._read = read_layer or (lambda index: checkpoint.layer(index, device=str(device)))
        self._classes = importlib.import_module(self.architecture.family.module)
        self._config = self._checked_config()
        self._calls: dict[tuple[str, torch.Size], dict[str, Any]] = {}

    def read_layer(self, index: int) -> dict[str, Tensor]:
        """Tensors of one layer on the device, by their names within the layer."""
        return self._read(index)

    def layer(self, index: int) -> Block:
        """Layer `index` as it is stored now."""
        return self.build(index, self._sizes[index], self._read(index))

    def build(self, index: int, size: LayerSize, tensors: dict[str, Tensor]) -> Block:
        """Layer `index` at `size` with the given tensors.

        Raises:
            RuntimeError: names or shapes of the tensors are not the layer's.
        """
        config = self._layer_config(index, size)
        with torch.device("meta"):
            module: nn.Module = self._class("DecoderLayer")(config, 0)
        module.load_state_dict(tensors, strict=True, assign=True)
        return Block(module.eval(), self.architecture.family)

    def call(self, index: int, hidden: Tensor) -> dict[str, Any]:
        """The keyword arguments that the stock model gives layer `index` for such a batch."""
        kinds = getattr(self._config, "layer_types", None)
        key = (kinds[index] if kinds else "", hidden.shape)
        if key not in self._calls:
            self._calls[key] = self._record(index, hidden)
        return self._calls[key]

    def embed(self, token_ids: Tensor) -> list[Tensor]:
        """Embedded tokens in batches of about 4096 tokens, held in host memory.

        Args:
            token_ids: (sequences, seq) int64.

        Returns:
            batches (batch, seq, d_model), checkpoint dtype, on the CPU.
        """
        name = f"{self.architecture.family.embedding}.weight"
        weight = self.checkpoint.load([name])[name]
        size = max(1, BATCH_TOKENS // token_ids.shape[1])
        return [nn.functional.embedding(batch, weight) for batch in torch.split(token_ids, size)]

    def advance(self, index: int, block: Block, batches: list[Tensor]) -> None:
        """Run a layer over all batches, each replaced by the layer's output."""
        for position, batch in enumerate(batches):
            hidden = batch.to(self.device)
            hidden = block.attend(hidden, self.call(index, hidden))
            batches[position] = block.feed_forward(hidden).to(batch.device)

    def head(self) -> Callable[[Tensor], Tensor]:
        """Final norm and output head: hidden (batch, seq, d_model) → logits (batch, seq, vocab)."""
        family = self.architecture.family
        tied = self.architecture.tied
        norm_name = f"{family.final_norm}.weight"
        head_name = f"{family.embedding if tied else family.head}.weight"
        tensors = self.checkpoint.load([norm_name, head_name], device=str(self.device))
        with torch.device("meta"):
            norm = self._class("RMSNorm")(self.architecture.hidden, eps=self._config.rms_norm_eps)
        norm.load_state_dict({"weight": tensors[norm_name]}, assign=True)
        weight = tensors[head_name]
        return lambda hidden: nn.functional.linear(norm(hidden), weight)

    @torch.no_grad()
    def logits(self, token_ids: Tensor) -> Tensor:
        """Logits of one batch (batch, seq) through all layers, (batch, seq, vocab) on the CPU."""
        hidden = torch.cat(self.embed(token_ids)).to(self.device)
        for index in range(self.architecture.layers):
            block = self.layer(index)
            hidden = block.feed_forward(block.attend(hidden, self.call(index, hidden)))
        return self.head()(hidden).cpu()

    def _checked_config(self) -> PretrainedConfig:
        """The stock config, once transformers has built a layer from it without complaint."""
        try:
            self._config = _stock_config(self.checkpoint)
            with torch.device("meta"):
                config = self._layer_config(0, self.architecture.sizes[0])
                self._class("DecoderLayer")(config, 0)
        except Exception as error:  # whatever transformers says of values it does not know
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise UnsupportedModelError(
                f"config.json: transformers cannot build the model: {reason[-1]}",
                hint="check the config against the model's own; a newer transformers may know it",
            ) from error
        return self._config

    def _class(self, suffix: str) -> Any:
        return getattr(self._classes, self.architecture.family.prefix + suffix)

    def _layer_config(self, index: int, size: LayerSize) -> PretrainedConfig:
        """The config of a model that has layer `index` only."""
        config = copy.deepcopy(self._config)
        config.num_hidden_layers = 1
        config.num_attention_heads = size.heads
        config.num_key_value_heads = size.kv_heads
        config.intermediate_size = size.channels
        if getattr(config, "layer_types", None):
            config.layer_types = [config.layer_types[index]]
        return config

    def _record(self, index: int, hidden: Tensor) -> dict[str, Any]:
        config = self._layer_config(index, self.architecture.sizes[index])
        with torch.device("meta"):
            body = self._class("Model")(config)
        recorder = _Recorder()
        body.layers = nn.ModuleList([recorder])
        body.norm = nn.Identity()
        body.rotary_emb = self._class("RotaryEmbedding")(config=config).to(self.device)
        body.eval()(inputs_embeds=hidden, use_cache=False)
        return recorder.call


class _Recorder(nn.Module):
    """Stands where the layers stand and writes down how it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.call: dict[str, Any] = {}

    def forward(self, hidden: Tensor, **call: Any) -> Tensor:
        self.call = call
        return hidden


def _stock_config(checkpoint: Checkpoint) -> PretrainedConfig:
    """The checkpoint's config for the stock classes, with the attention that they default to."""
    raw = {key: value for key, value in checkpoint.config.items() if key not in PRUNED_KEYS}
    raw["head_dim"] = checkpoint.architecture.head_dim
    config = AutoConfig.for_model(**raw)
    config.dtype = DTYPES[checkpoint.architecture.dtype]
    config._attn_implementation = "sdpa"
    return config
