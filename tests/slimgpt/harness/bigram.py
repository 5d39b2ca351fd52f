"""A model whose answers are computed by hand: what follows a character hangs on it alone.

    Bigram({" y": 9.0}).save(folder)

A Llama whose attention and FFN add nothing: embeddings are unit vectors, and the head holds the
logits of what follows each token. All pairs that are not named have logit 0, so that every other
character costs about ln 259 nats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from tests.slimgpt.tiny import BYTES, write_tokenizer

HIDDEN = 264


@dataclass(frozen=True)
class Bigram:
    """Logits of pairs of characters; all others are 0."""

    pairs: Mapping[str, float]

    def save(self, folder: Path) -> Path:
        """Write the model and a tokenizer with one token a byte."""
        config = LlamaConfig(
            vocab_size=BYTES,
            hidden_size=HIDDEN,
            num_hidden_layers=1,
            num_attention_heads=4,
            num_key_value_heads=4,
            intermediate_size=32,
            max_position_embeddings=2048,
            bos_token_id=1,
            eos_token_id=2,
            rms_norm_eps=1e-12,
        )
        model = AutoModelForCausalLM.from_config(config)
        folder.mkdir(parents=True, exist_ok=True)
        write_tokenizer(folder)
        ids = AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids
        spelled = {" ": "Ġ", "\n": "Ċ"}  # as the byte tokenizer writes them
        layer = model.model.layers[0]
        with torch.no_grad():
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
            model.model.embed_tokens.weight.copy_(torch.eye(BYTES, HIDDEN))
            model.lm_head.weight.zero_()
            for pair, logit in self.pairs.items():
                column, row = (ids(spelled.get(one, one)) for one in pair)
                # The norm makes of a unit vector one of length sqrt(HIDDEN).
                model.lm_head.weight[row, column] = logit / math.sqrt(HIDDEN)
        model.save_pretrained(folder)
        return folder

    def log_likelihood(self, context: str, continuation: str) -> float:
        """Of the continuation after the context, in nats."""
        text, total = context + continuation, 0.0
        for place in range(len(context), len(text)):
            before, after = text[place - 1], text[place]
            named = [logit for pair, logit in self.pairs.items() if pair[0] == before]
            everything = BYTES - len(named) + sum(math.exp(logit) for logit in named)
            total += self.pairs.get(before + after, 0.0) - math.log(everything)
        return total
