"""A pruned Llama: the stock classes, with its own size for each decoder layer.

`per_layer_config` in config.json says how many query heads, KV heads and FFN channels each layer
has. Works with transformers 4.57 and newer; load it with

    AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True, dtype="auto")

Written by SlimGPT Service. SPDX-License-Identifier: Apache-2.0
"""

import contextlib
import copy

import transformers.models.llama.modeling_llama as stock
from torch import nn

HEAD = "lm_head"  # the checkpoint's name of the output head
LAYERS = "layers"  # attribute of the body's layers
ATTENTION = "self_attn"  # attribute of a layer's attention
PROJECTIONS = ("q_proj", "k_proj", "v_proj")  # their input is the hidden size
OUTPUT = "o_proj"  # its output is the hidden size
HIDDEN, HEADS, CHANNELS = "hidden_size", "num_attention_heads", "intermediate_size"
SOFT_CAPS = False  # attention caps its logits, which fused attention does not support
TASKS = ("ForSequenceClassification", "ForTokenClassification")  # stock classes with other heads
EXPERTS = None  # model_type whose tensor names of experts the files use
SPANNING = False  # in the stock class, heads × width is always the hidden size
OWN_CONFIG = False  # the stock attention reads head counts from its config in `forward`


class SlimGPTLlamaModel(stock.LlamaModel):
    """The stock model, with its own size for each layer."""

    _supports_sdpa = not SOFT_CAPS

    def __init__(self, config):
        with without_layers(config):
            super().__init__(config)
        place, _, name = LAYERS.rpartition(".")
        layers = [decoder_layer(config, index) for index in range(config.num_hidden_layers)]
        setattr(self.get_submodule(place), name, nn.ModuleList(layers))
        self.post_init()


class OnPrunedLayers:
    """A stock model with a head, on the pruned body."""

    _supports_sdpa = not SOFT_CAPS

    def __init__(self, config):
        with without_layers(config):
            super().__init__(config)
        for name, module in list(self.named_children()):
            if isinstance(module, stock.LlamaModel):
                setattr(self, name, SlimGPTLlamaModel(config))
        self.post_init()


class SlimGPTLlamaForCausalLM(OnPrunedLayers, stock.LlamaForCausalLM):
    """The stock language model on top of it."""


def with_head(task):
    """The stock class with another head on top of it."""
    name = "SlimGPTLlama" + task
    return type(name, (OnPrunedLayers, getattr(stock, "Llama" + task)), {"__module__": __name__})


for task in TASKS:
    if hasattr(stock, "Llama" + task):  # transformers 4.57 has fewer
        globals()["SlimGPTLlama" + task] = with_head(task)


if HEAD != "lm_head":

    def _named(name):
        return HEAD if name == "lm_head" else name

    def _get(self, name):
        return super(SlimGPTLlamaForCausalLM, self).__getattr__(_named(name))

    def _set(self, name, value):
        super(SlimGPTLlamaForCausalLM, self).__setattr__(_named(name), value)

    SlimGPTLlamaForCausalLM.__getattr__ = _get
    SlimGPTLlamaForCausalLM.__setattr__ = _set  # type: ignore[method-assign]
    tied = stock.LlamaForCausalLM._tied_weights_keys
    if isinstance(tied, dict):
        tied = {name.replace("lm_head", HEAD): source for name, source in tied.items()}
    SlimGPTLlamaForCausalLM._tied_weights_keys = tied


if EXPERTS:
    # Files have one tensor per expert, transformers 5 one for all; register the conversion.
    with contextlib.suppress(ImportError):
        from transformers import conversion_mapping

        others = [globals()["SlimGPTLlama" + task] for task in TASKS]
        for kind in (SlimGPTLlamaModel, SlimGPTLlamaForCausalLM, *others):
            own = conversion_mapping.get_checkpoint_conversion_mapping(EXPERTS)
            conversion_mapping.register_checkpoint_conversion_mapping(
                kind.__name__, own, overwrite=True
            )


@contextlib.contextmanager
def without_layers(config):
    """Let the stock classes build everything except their layers."""
    count = config.num_hidden_layers
    per_layer = config.__dict__.pop("_heterogeneity_spec", None)
    config.num_hidden_layers = 0
    try:
        yield
    finally:
        config.num_hidden_layers = count
        if per_layer is not None:
            config.__dict__["_heterogeneity_spec"] = per_layer


def decoder_layer(config, index):
    """One decoder layer at its own size."""
    return sized_layer(config, layer_config(config, index), index)


def layer_config(config, index):
    """The config of one layer; transformers before 5.14 keeps the overrides as a plain dict."""
    overrides = getattr(config, "per_layer_config", None) or {}
    if not isinstance(overrides, dict):
        return overrides[index]
    own = copy.copy(config)
    for layer, values in overrides.items():
        if int(layer) == index:
            for key, value in values.items():
                setattr(own, key, value)
    return own


def sized_layer(config, own, index):
    """One stock decoder layer by its own config; `config` is the model's."""
    layer = spanning_layer(config, own, index) if SPANNING else stock.LlamaDecoderLayer(own, index)
    # The model's config, so that a change of the attention implementation reaches every layer.
    getattr(layer, ATTENTION).config = LayerView(config, own) if OWN_CONFIG else config
    return layer


def spanning_layer(config, own, index):
    """A layer whose attention is built for a narrower hidden size, then resized to the real one."""
    whole, narrow = copy.copy(own), copy.copy(own)
    dense = copy.copy(config)
    dense.__dict__.pop("_heterogeneity_spec", None)
    hidden, heads = getattr(dense, HIDDEN), getattr(dense, HEADS)
    setattr(whole, HEADS, heads)
    setattr(narrow, HIDDEN, hidden // heads * getattr(own, HEADS))
    layer = stock.LlamaDecoderLayer(whole, index)
    attention = type(getattr(layer, ATTENTION))(narrow, layer_idx=index)
    for name in PROJECTIONS:
        setattr(attention, name, resized(getattr(attention, name), inputs=hidden))
    setattr(attention, OUTPUT, resized(getattr(attention, OUTPUT), outputs=hidden))
    setattr(layer, ATTENTION, attention)
    return layer


def resized(linear, inputs=None, outputs=None):
    """A new linear layer of the same class with other sizes."""
    if hasattr(linear, "nf"):  # Conv1D of GPT-2, whose weight is (inputs, outputs)
        return type(linear)(outputs or linear.nf, inputs or linear.nx)
    inputs, outputs = inputs or linear.in_features, outputs or linear.out_features
    return type(linear)(inputs, outputs, bias=linear.bias is not None)


class LayerView:
    """The model's config for one layer's attention: its own sizes, everything else shared."""

    def __init__(self, config, own):
        self._shared, self._own = config, own

    def __getattr__(self, name):
        if name.startswith("__") or name in ("_shared", "_own"):
            raise AttributeError(name)
        owner = self._own if name in SIZES else self._shared
        return getattr(owner, name)


SIZES = ("num_attention_heads", "num_key_value_heads")
