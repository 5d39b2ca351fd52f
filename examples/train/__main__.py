"""`python -m examples.train --out DIR`: corpus, tokens, weights, texts and model card."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from tokenizers import Tokenizer
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from examples.train.card import Facts, write_card
from examples.train.corpus import PARTS, Document, Part, read_corpus, write_texts
from examples.train.fitting import Check, Recipe, fit, held_out_loss
from examples.train.vocabulary import BOS, EOS, learn_vocabulary, save_tokenizer

VOCABULARY = 4096
POSITIONS = 512
ROPE_THETA = 10000.0
CHECKED, MEASURED = 16_384, 131_072  # tokens of a part for a check and for the card
console = Console()


def architecture(vocabulary: int) -> LlamaConfig:
    """Llama with grouped queries: deep, narrow, 2.0 M parameters at 4096 tokens.

    A third of the parameters are embeddings, as in small models that people use (Qwen2.5-0.5B:
    27%), and the layers have little to spare: what pruning takes away, one can see.
    """
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=160,
        intermediate_size=192,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=20,
        tie_word_embeddings=True,
        max_position_embeddings=POSITIONS,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=None,
    )


def train(
    out: Annotated[Path, typer.Option(help="Folder to write the model into.")],
    steps: Annotated[int, typer.Option(help="Optimiser steps of 4096 tokens.")] = 1200,
    seed: Annotated[int, typer.Option(help="Seed of weights and order.")] = 0,
    library: Annotated[
        Path | None, typer.Option(help="Standard library to read; default: the running one.")
    ] = None,
) -> None:
    """Make the example model: about half an hour on one core; a second start goes on."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    documents = read_corpus(library)
    write_texts(documents, out / "texts")
    tokenizer = learn_vocabulary((d.text for d in documents if d.part == "train"), VOCABULARY)
    streams = {part: token_stream(documents, part, tokenizer) for part in PARTS}
    for part, stream in streams.items():
        console.print(f"{part}: {len(stream):,} tokens")
    model = LlamaForCausalLM(architecture(tokenizer.get_vocab_size()))
    model.set_attn_implementation("eager")  # on a CPU half again as fast as the fused one
    checkpoint = out / "training.partial"
    checks: list[Check] = []
    recipe = Recipe(steps=steps, seed=seed)
    for check in fit(model, streams["train"], streams["calibration"][:CHECKED], recipe, checkpoint):
        checks.append(check)
        console.print(
            f"step {check.step}: train {check.train_loss:.3f}, "
            f"held out {check.held_out_loss:.3f} nats a token"
        )
    save(model, tokenizer, out)
    losses = {part: held_out_loss(model.eval(), streams[part][:MEASURED], 128) for part in PARTS}
    tokens = {part: len(stream) for part, stream in streams.items()}
    facts = Facts(model.num_parameters(), platform.python_version(), recipe, tokens, losses)
    write_card(facts, out)
    checkpoint.unlink(missing_ok=True)


def token_stream(documents: list[Document], part: Part, tokenizer: Tokenizer) -> torch.Tensor:
    """Ids of one part's documents, each between `<s>` and `</s>`: (tokens,), int64."""
    texts = [d.text for d in documents if d.part == part]
    end = tokenizer.token_to_id(EOS)
    return torch.tensor([i for e in tokenizer.encode_batch(texts) for i in (*e.ids, end)])


def save(model: LlamaForCausalLM, tokenizer: Tokenizer, folder: Path) -> None:
    """Write weights, configurations and tokenizer as `from_pretrained` reads them."""
    ids = {"bos_token_id": tokenizer.token_to_id(BOS), "eos_token_id": tokenizer.token_to_id(EOS)}
    model.generation_config = GenerationConfig(**ids)
    model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder, POSITIONS)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["rope_theta"] = ROPE_THETA  # transformers 4 reads this one, 5 writes rope_parameters
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(train)
