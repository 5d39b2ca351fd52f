"""Tiny random models of every family, saved as a user would have them: by `save_pretrained`.

    folder = Tiny("qwen2", tied=True).save(tmp_path / "model")

Weights, norms and biases are all random and large enough that a wrong one shows in the logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from slimgpt.checkpoints.families import table

FAMILIES = (
    *("llama", "mistral", "qwen2", "qwen3", "granite", "olmo2", "gemma2", "gemma3_text", "phi3"),
    *("stablelm", "gpt_neox", "gpt2", "opt", "falcon", "mixtral", "qwen3_moe"),
)
ROUTED = ("mixtral", "qwen3_moe")  # to experts
EACH_HEAD_ITS_OWN = ("gpt_neox", "gpt2", "opt")  # as many KV heads as heads, always
SLIDING = {
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "query_pre_attn_scalar": 12,
    "attn_logit_softcapping": 3.0,
    "final_logit_softcapping": 4.0,
}
OWN: dict[str, dict[str, Any]] = {
    "granite": {
        "embedding_multiplier": 3.0,
        "attention_multiplier": 0.3,
        "residual_multiplier": 0.4,
        "logits_scaling": 2.0,
    },
    "gemma2": SLIDING,
    "gemma3_text": SLIDING,
    "phi3": {"sliding_window": 8},
    "stablelm": {"use_qkv_bias": True, "partial_rotary_factor": 0.5},
    "gpt_neox": {"rotary_pct": 0.5},
    "falcon": {"new_decoder_architecture": True},
    "mixtral": {"num_local_experts": 4},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "norm_topk_prob": True},
    "opt": {"word_embed_proj_dim": None},
}
"""What makes a family more than its sizes."""
FALCON_7B = {"new_decoder_architecture": False, "multi_query": True}
FALCON_OLD = {"new_decoder_architecture": False, "multi_query": False, "parallel_attn": False}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
BYTES = 259  # vocabulary of the byte tokenizer: 256 bytes, begin, end, padding


@dataclass(frozen=True)
class Tiny:
    """A dense model to be.

    Attributes:
        biases: turn on `attention_bias`, and `mlp_bias` where the family has it.
        llama3_rope: scaled rotary positions of Llama 3, with an original length of 16 tokens.
        max_shard_size: as in `save_pretrained`, e.g. "20KB"; one file if unset.
        tokenizer: add a tokenizer with one token a byte; the vocabulary is then 259.
    """

    family: str = "llama"
    layers: int = 3
    hidden: int = 32
    heads: int = 4
    kv_heads: int = 2
    channels: int = 48
    vocabulary: int = 64
    head_dim: int | None = None
    biases: bool = False
    tied: bool = False
    llama3_rope: bool = False
    max_shard_size: str | None = None
    dtype: str = "float32"
    tokenizer: bool = False
    seed: int = 0
    own: Mapping[str, Any] = field(default_factory=dict)  # further keys of the config

    def __post_init__(self) -> None:
        if self.family in EACH_HEAD_ITS_OWN:
            object.__setattr__(self, "kv_heads", self.heads)

    def __str__(self) -> str:
        shown = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "family"}
        default = {f.name: f.default for f in fields(self)}
        words = [f"{n}={v}" for n, v in shown.items() if v != default[n] and v != {}]
        return " ".join([self.family, *words])

    def save(self, folder: Path) -> Path:
        """Write the model; the folder is made."""
        options = {"max_shard_size": self.max_shard_size} if self.max_shard_size else {}
        self.build().save_pretrained(folder, **options)
        if self.tokenizer:
            write_tokenizer(folder)
        return folder

    def build(self) -> Any:
        """The model in memory, in evaluation mode."""
        model = AutoModelForCausalLM.from_config(self._config()).eval()
        generator = torch.Generator().manual_seed(self.seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                scale = name.endswith("weight") and ("norm" in name or ".ln_" in name)
                parameter.copy_(1 + 0.2 * noise if scale else 0.2 * noise)
        return model.to(getattr(torch, self.dtype))

    def _config(self) -> Any:
        family = table.FAMILIES[self.family]
        keys = family.keys
        values: dict[str, Any] = {
            "vocab_size": BYTES if self.tokenizer else self.vocabulary,
            keys.hidden: self.hidden,
            keys.layers: self.layers,
            keys.heads: self.heads,
            keys.channels: self.channels,
            keys.positions: 128,
            "tie_word_embeddings": self.tied,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": None,
        }
        if keys.kv_heads:
            values[keys.kv_heads] = self.kv_heads
        if not family.spanning:
            values["head_dim"] = self.head_dim or self.hidden // self.heads
        values |= {**OWN.get(self.family, {}), **self.own}
        if values.get("layer_types"):
            values["layer_types"] = (values["layer_types"] * self.layers)[: self.layers]
        if "word_embed_proj_dim" in values:
            values["word_embed_proj_dim"] = self.hidden
        if self.biases:
            values |= dict.fromkeys(family.bias_switches, True)
        if self.llama3_rope:
            values["rope_parameters"] = LLAMA3_ROPE
        return AutoConfig.for_model(self.family, **values)


def tokens(model: Tiny, batch: int = 2, length: int = 24, seed: int = 1) -> Tensor:
    """Random token ids of the model's vocabulary, (batch, length) int64."""
    generator = torch.Generator().manual_seed(seed)
    size = BYTES if model.tokenizer else model.vocabulary
    return torch.randint(3, size, (batch, length), generator=generator)


def put_around(folder: Path, template: str) -> None:
    """Make a folder's tokenizer add special tokens around a text, such as `<s> $A`."""
    from tokenizers import Tokenizer, processors

    inner = Tokenizer.from_file(str(folder / "tokenizer.json"))
    special = [(name, inner.token_to_id(name)) for name in ("<pad>", "<s>", "</s>")]
    inner.post_processor = processors.TemplateProcessing(single=template, special_tokens=special)
    inner.save(str(folder / "tokenizer.json"))


def write_tokenizer(folder: Path) -> None:
    """A tokenizer with one token a byte, as `save_pretrained` writes it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<s>", "</s>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    ).save_pretrained(folder)
