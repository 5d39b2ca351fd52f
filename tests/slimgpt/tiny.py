"""Tiny random models of every family, saved as a user would have them: by `save_pretrained`.

    folder = Tiny("qwen2", tied=True).save(tmp_path / "model")

Weights, norms and biases are all random and large enough that a wrong one shows in the logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
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
                parameter.copy_(1 + 0.2 * noise if "norm" in name else 0.2 * noise)
        return model.to(getattr(torch, self.dtype))

    def _config(self) -> Any:
        values: dict[str, Any] = {
            "vocab_size": BYTES if self.tokenizer else self.vocabulary,
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "intermediate_size": self.channels,
            "head_dim": self.head_dim or self.hidden // self.heads,
            "max_position_embeddings": 128,
            "tie_word_embeddings": self.tied,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": None,
        }
        if self.biases:
            values |= {"attention_bias": True, "mlp_bias": True}
        if self.llama3_rope:
            values["rope_parameters"] = LLAMA3_ROPE
        return AutoConfig.for_model(self.family, **values)


def tokens(model: Tiny, batch: int = 2, length: int = 24, seed: int = 1) -> Tensor:
    """Random token ids of the model's vocabulary, (batch, length) int64."""
    generator = torch.Generator().manual_seed(seed)
    size = BYTES if model.tokenizer else model.vocabulary
    return torch.randint(3, size, (batch, length), generator=generator)


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
