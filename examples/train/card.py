"""The model card: what the model is, what it read, what it measures; and the licence."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from examples.train.corpus import Part
from examples.train.fitting import Recipe

LICENCE = Path(__file__).with_name("PSF-LICENSE.txt")
CARD = """\
---
language:
- en
- code
license: psf-2.0
pipeline_tag: text-generation
library_name: transformers
---

# A small Llama that has read Python's standard library

{parameters:,} parameters in float32: 8 layers, hidden size 160, 8 query heads sharing 4 KV heads
of size 20, FFN 192, 4096 byte-level BPE tokens, tied embeddings, positions up to 512. A stock
`LlamaForCausalLM`; it is here to be pruned, as a real trained model that fits in a repository.

    from transformers import AutoModelForCausalLM, AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained("examples/model")
    model = AutoModelForCausalLM.from_pretrained("examples/model")

It continues Python source as one who has seen much of it and understood little. It knows
nothing, follows no instruction, and is of no use but as an example.

## Text

The standard library of CPython {python}, documentation and code: the modules of `Lib/` but for its
tests and tables. A document is one module; a hash of its name decides which part it belongs to.

| part | tokens | loss, nats a token | perplexity |
|---|---|---|---|
{table}

Windows of 128 tokens, float32 weights, bfloat16 products. `calibration` chose the checkpoint,
`evaluation` was never looked at. Both are in `texts/`, one document a line.

## Training

{steps} steps of {step_tokens} tokens, AdamW, peak rate {rate}, weight decay {decay}, cosine to
zero, seed {seed}, one CPU core. Repeat it with

    OMP_NUM_THREADS=1 python -m examples.train --out examples/model

Another CPython version reads other text, another processor rounds otherwise: the numbers come
close, the bytes do not.

## Licence

Text, and the weights and tokens learnt from it: PSF License Version 2, © 2001-2026 Python
Software Foundation, all rights reserved; see `LICENSE`. The texts in `texts/` are modules as they
are, some with notices of their own.
"""


@dataclass(frozen=True)
class Facts:
    """What the card states; `losses` in nats a token over windows of 128 tokens, by part."""

    parameters: int
    python: str
    recipe: Recipe
    tokens: dict[Part, int]
    losses: dict[Part, float]


def write_card(facts: Facts, folder: Path) -> None:
    """Write `README.md` and `LICENSE`."""
    rows = (
        f"| {part} | {count:,} | {facts.losses[part]:.3f} | {math.exp(facts.losses[part]):.2f} |"
        for part, count in facts.tokens.items()
    )
    recipe = facts.recipe
    text = CARD.format(
        parameters=facts.parameters,
        python=facts.python,
        table="\n".join(rows),
        steps=recipe.steps,
        step_tokens=recipe.batch * recipe.window,
        rate=recipe.peak_rate,
        decay=recipe.weight_decay,
        seed=recipe.seed,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
    shutil.copyfile(LICENCE, folder / "LICENSE")
