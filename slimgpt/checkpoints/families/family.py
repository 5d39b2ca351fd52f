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
"""How one tensor holds queries, keys and values: not at all; all queries, then all keys, then all
values; or for each KV group its queries, its key and its value."""

Rope = Literal["plain", "by layer type", "none"]


def on(*keys: str) -> Condition:
    """Whether one of the config's switches is on."""
    return lambda config: any(bool(config.get(key)) for key in keys)


@dataclass(frozen=True)
class Keys:
    """What the config calls a model's sizes."""

    hidden: str = "hidden_size"
    heads: str = "num_attention_heads"
    kv_heads: str | None = "num_key_value_heads"  # None: as many as heads, and no key says so
    channels: str = "intermediate_size"
    times_hidden: int | None = None  # how many channels there are where the key is left out
    layers: str = "num_hidden_layers"
    positions: str = "max_position_embeddings"


@dataclass(frozen=True)
class RopeKeys:
    """What transformers 4.57 calls the settings of rotary positions; 5 has `rope_parameters`."""

    kind: Rope = "plain"
    theta: str = "rope_theta"
    partial: str | None = None  # share of a head's width that is rotated
    local: str | None = None  # theta of sliding layers


@dataclass(frozen=True)
class Family:
    """One row: `model_type` of the config, class prefix in transformers, names within a layer."""

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
    ffn: str = "mlp"  # the first module of the FFN's half, where it has none of its own
    ffn_norm: str = "post_attention_layernorm"
    layers: str = "model.layers"
    embedding: str = "model.embed_tokens"
    final_norm: str = "model.norm"
    head: str = "lm_head"
    biased: tuple[str, ...] = ()  # projections that have a bias whatever the config says
    bias_switches: tuple[str, ...] = ()  # config keys that turn further biases on
    head_norms: tuple[str, ...] = ()  # norms over one head's queries or keys
    after_norms: tuple[str, ...] = ()  # norms of what a half adds to the stream
    norms_if: tuple[tuple[Condition, tuple[str, ...]], ...] = ()  # a layer's norms, by its config
    span_norms: tuple[str, ...] = ()  # norms over all queries, and over all keys
    numbered_norms: tuple[str, ...] = ()  # lists with a norm for every head, and every KV head
    norms_if_on: str = ""  # config key without which head and numbered norms are absent
    norm_bias: bool = False  # norms have a bias: LayerNorm
    fused: Fused = ""
    wide_parts: int = 1  # projections that one tensor of `wide` stacks
    experts: tuple[str, ...] = ()  # config keys, any: how many FFNs a router chooses from
    router: str = ""  # with experts, `wide` and `down` hold a {} for an expert's number
    transposed: bool = False  # weights are stored (in, out)
    positions: str = ""  # table of learned positions
    positions_offset: int = 0  # rows of the table that come before position 0
    parallel: tuple[str, ...] = ()  # config switches: both halves read the layer's input
    soft_caps: bool = False  # attention caps its logits, which torch's fused attention cannot
    spanning: bool = False  # stock classes have no head_dim: heads span the hidden size
    own_config: bool = False  # the stock attention reads head counts off its config as it runs
    keys: Keys = field(default_factory=Keys)
    rope: RopeKeys = field(default_factory=RopeKeys)
    one_kv_head: Condition | None = None  # multi-query attention, whatever the keys say
    defaults: Config = field(default_factory=lambda: MappingProxyType({}))  # of keys left out
    buffers: tuple[str, ...] = ()  # ends of names that old checkpoints store, and nobody reads
    refusals: tuple[tuple[Condition, str], ...] = ()  # variants that cannot be pruned, and why
    package: str = ""  # folder in transformers, where it is not the model_type
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
        """What the names of a layer's tensors begin with."""
        return f"{self.layers}.{index}."

    def expert(self, number: int) -> Family:
        """The family as one expert's FFN has it."""
        wide = tuple(name.format(number) for name in self.wide)
        return replace(self, wide=wide, down=self.down.format(number))

    @property
    def body(self) -> str:
        """Where the language model keeps its body, and what its tensors' names begin with."""
        return self.layers.partition(".")[0]

    def completed(self, config: Config) -> Config:
        """A config with what its keys mean where they are left out."""
        return {**self.defaults, **config}

    def is_parallel(self, config: Config) -> bool:
        """Whether attention and FFN both read the layer's input, and the stream adds up both."""
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
        """Whether queries and keys are normed, where the config can say no."""
        return not self.norms_if_on or bool(self.completed(config).get(self.norms_if_on))
