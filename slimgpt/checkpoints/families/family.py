"""`Family`: the columns of the family table (class names, tensor names, config keys).

Imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

Config = Mapping[str, Any]
Condition = Callable[[Config], bool]

Fused = Literal["", "stacked", "grouped"]
"""Layout of a fused QKV tensor. `""`: separate tensors; `stacked`: all queries, then all keys, then
all values; `grouped`: for each KV group its queries, its key and its value."""

Rope = Literal["plain", "by layer type", "none"]


def on(*keys: str) -> Condition:
    """A condition: at least one of the config keys is true."""
    return lambda config: any(bool(config.get(key)) for key in keys)


@dataclass(frozen=True)
class Keys:
    """The config keys of a model's sizes."""

    hidden: str = "hidden_size"
    heads: str = "num_attention_heads"
    kv_heads: str | None = "num_key_value_heads"  # None: no key; the same number as query heads
    channels: str = "intermediate_size"
    times_hidden: int | None = None  # default channels, as a multiple of the hidden size
    layers: str = "num_hidden_layers"
    positions: str = "max_position_embeddings"


@dataclass(frozen=True)
class RopeKeys:
    """Config keys of rotary positions in transformers 4.57; 5 has `rope_parameters`."""

    kind: Rope = "plain"
    theta: str = "rope_theta"
    partial: str | None = None  # share of a head's width that is rotated
    local: str | None = None  # theta of sliding layers


@dataclass(frozen=True)
class Family:
    """One row of the table: `model_type`, class prefix in transformers, tensor and module names."""

    model_type: str
    prefix: str
    query: str = "self_attn.q_proj"
    key: str = "self_attn.k_proj"
    value: str = "self_attn.v_proj"
    output: str = "self_attn.o_proj"
    wide: tuple[str, ...] = ("mlp.gate_proj", "mlp.up_proj")
    down: str = "mlp.down_proj"
    attention: str = "self_attn"
    attention_norm: str = "input_layernorm"
    ffn: str = "mlp"  # the FFN's module, or its first linear layer if there is no such module
    ffn_norm: str = "post_attention_layernorm"
    layers: str = "model.layers"
    embedding: str = "model.embed_tokens"
    final_norm: str = "model.norm"
    head: str = "lm_head"
    biased: tuple[str, ...] = ()  # projections that always have a bias
    bias_switches: tuple[str, ...] = ()  # config keys that turn further biases on
    head_norms: tuple[str, ...] = ()  # norms over one head's queries or keys
    after_norms: tuple[str, ...] = ()  # norms of the outputs of attention and FFN
    norms_if: tuple[tuple[Condition, tuple[str, ...]], ...] = ()  # a layer's norms, by its config
    span_norms: tuple[str, ...] = ()  # norms over all query heads, and over all KV heads
    numbered_norms: tuple[str, ...] = ()  # lists with one norm per query head, and per KV head
    norms_if_on: str = ""  # config key that enables head and numbered norms; empty: always
    norm_bias: bool = False  # norms have a bias: LayerNorm
    fused: Fused = ""
    wide_parts: int = 1  # number of projections stacked in one tensor of `wide`
    experts: tuple[str, ...] = ()  # config keys of the number of experts; the first present counts
    router: str = ""  # with experts, `wide` and `down` contain {} for the expert's number
    transposed: bool = False  # weights are stored (in, out)
    positions: str = ""  # learned position embedding
    positions_offset: int = 0  # rows of the position embedding before position 0
    parallel: tuple[str, ...] = ()  # config keys: attention and FFN both read the layer's input
    soft_caps: bool = False  # attention caps its logits, which fused attention does not support
    spanning: bool = False  # stock classes have no head_dim: heads × width is the hidden size
    own_config: bool = False  # the stock attention reads head counts from its config in `forward`
    keys: Keys = field(default_factory=Keys)
    rope: RopeKeys = field(default_factory=RopeKeys)
    one_kv_head: Condition | None = None  # multi-query attention, regardless of the other keys
    defaults: Config = field(default_factory=lambda: MappingProxyType({}))  # of absent config keys
    buffers: tuple[str, ...] = ()  # name suffixes of buffers in old checkpoints, which are ignored
    refusals: tuple[tuple[Condition, str], ...] = ()  # variants that cannot be pruned, with reason
    package: str = ""  # package in transformers, if not the model_type
    layer_suffix: str = "DecoderLayer"
    model_suffix: str = "Model"
    causal_suffix: str = "ForCausalLM"
    task_suffixes: tuple[str, ...] = ("ForSequenceClassification", "ForTokenClassification")

    @property
    def linears(self) -> tuple[str, ...]:
        """The linear layers of a decoder layer, by their names within it."""
        names = (self.query, self.key, self.value, self.output, *self.wide, self.down)
        return tuple(dict.fromkeys(names))

    @property
    def module(self) -> str:
        """Module of transformers that holds the family's classes."""
        package = self.package or self.model_type
        return f"transformers.models.{package}.modeling_{package}"

    def layer_prefix(self, index: int) -> str:
        """Name prefix of a layer's tensors."""
        return f"{self.layers}.{index}."

    def expert(self, number: int) -> Family:
        """The family with the tensor names of one expert's FFN."""
        wide = tuple(name.format(number) for name in self.wide)
        return replace(self, wide=wide, down=self.down.format(number))

    @property
    def body(self) -> str:
        """Attribute of the language model's body, and name prefix of its tensors."""
        return self.layers.partition(".")[0]

    def completed(self, config: Config) -> Config:
        """A config with the default values of absent keys."""
        return {**self.defaults, **config}

    def is_parallel(self, config: Config) -> bool:
        """Whether attention and FFN both read the layer's input (parallel residual)."""
        return on(*self.parallel)(self.completed(config))

    def norms(self, config: Config) -> tuple[str, ...]:
        """A layer's norms over the hidden size."""
        full = self.completed(config)
        for condition, names in self.norms_if:
            if condition(full):
                return names
        return tuple(
            name for name in (self.attention_norm, self.ffn_norm, *self.after_norms) if name
        )

    def biases(self, config: Config) -> tuple[str, ...]:
        """The projections that have a bias."""
        full = self.completed(config)
        queries = (self.query, self.key, self.value)
        ffn = (*self.wide, self.down)
        switched = {
            "attention_bias": (*queries, self.output),
            "use_qkv_bias": queries,
            "mlp_bias": ffn,
            "enable_bias": (*queries, self.output, *ffn),
            "bias": (*queries, self.output, *ffn),
        }
        found = [name for key in self.bias_switches if full.get(key) for name in switched[key]]
        return tuple(dict.fromkeys((*self.biased, *found)))

    def has_head_norms(self, config: Config) -> bool:
        """Whether queries and keys have norms, for families with a config key for them."""
        return not self.norms_if_on or bool(self.completed(config).get(self.norms_if_on))
