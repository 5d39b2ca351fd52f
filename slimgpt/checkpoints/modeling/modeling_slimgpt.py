"""A pruned Llama: the stock classes, each decoder layer at a size of its own.

`per_layer_config` in config.json says how many query heads, KV heads and FFN channels each layer
has. Works with transformers 4.57 and newer; load it with

    AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True, dtype="auto")

Written by SlimGPT Service. SPDX-License-Identifier: Apache-2.0
"""

import copy

from torch import nn
from transformers.models.llama.modeling_llama import (
    LlamaDecoderLayer,
    LlamaForCausalLM,
    LlamaModel,
    LlamaPreTrainedModel,
    LlamaRMSNorm,
    LlamaRotaryEmbedding,
)


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


def decoder_layer(config, index):
    """One stock decoder layer at its own size."""
    layer = LlamaDecoderLayer(layer_config(config, index), index)
    # The model's own config, so that a change of the attention implementation reaches every layer.
    layer.self_attn.config = config
    return layer


class SlimGPTLlamaModel(LlamaModel):
    """The stock model but for the sizes of its layers."""

    def __init__(self, config):
        LlamaPreTrainedModel.__init__(self, config)
        self.padding_idx = config.pad_token_id
        self.vocab_size = config.vocab_size
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, self.padding_idx)
        self.layers = nn.ModuleList(
            [decoder_layer(config, index) for index in range(config.num_hidden_layers)]
        )
        self.norm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = LlamaRotaryEmbedding(config=config)
        self.gradient_checkpointing = False
        self.has_sliding_layers = "sliding_attention" in (
            getattr(config, "layer_types", None) or ()
        )
        self.post_init()


class SlimGPTLlamaForCausalLM(LlamaForCausalLM):
    """The stock language model on top of it."""

    def __init__(self, config):
        LlamaPreTrainedModel.__init__(self, config)
        self.model = SlimGPTLlamaModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()
