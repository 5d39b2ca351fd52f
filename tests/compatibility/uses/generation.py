"""Generating text: every way must give what whole forward passes without a cache give."""

from __future__ import annotations

import torch
from transformers import GenerationConfig, pipeline

from tests.compatibility.uses.expectations import GREEDY, NEW, greedy, require, same
from tests.compatibility.uses.model import Model


def dynamic_cache(given: Model) -> None:
    """Greedy `generate` as it is by default."""
    model = given.load()
    same(model.generate(given.prompt, **GREEDY), greedy(model, given.prompt))


def static_cache(given: Model) -> None:
    """A cache of fixed length."""
    model = given.load()
    found = model.generate(given.prompt, cache_implementation="static", **GREEDY)
    same(found, greedy(model, given.prompt))


def beam_search(given: Model) -> None:
    """Three beams, with a cache and without."""
    model = given.load()
    options = GREEDY | {"num_beams": 3}
    without = model.generate(given.prompt, use_cache=False, **options)
    same(model.generate(given.prompt, **options), without)


def assistant(given: Model) -> None:
    """Assisted decoding; the draft model is the model itself."""
    model, prompt = given.load(), given.prompt[:1]
    found = model.generate(prompt, assistant_model=given.load(), **GREEDY)
    same(found, greedy(model, prompt))


def prompt_lookup(given: Model) -> None:
    """Drafts from the prompt's own n-grams."""
    model, prompt = given.load(), given.prompt[:1].repeat(1, 2)
    same(model.generate(prompt, prompt_lookup_num_tokens=2, **GREEDY), greedy(model, prompt))


def left_padding(given: Model) -> None:
    """A short prompt beside a longer one."""
    model, prompt = given.load(), given.prompt
    mask = torch.ones_like(prompt)
    mask[1, :3] = 0
    found = model.generate(prompt * mask, attention_mask=mask, **GREEDY)
    same(found[:1], greedy(model, prompt[:1]))
    same(found[1:, 3:], greedy(model, prompt[1:, 3:]))


def continuous_batching(given: Model) -> None:
    """`generate_batch`, two prompts of different lengths."""
    from transformers import ContinuousBatchingConfig

    model = given.load()
    prompts = [given.prompt[0], given.prompt[1, 3:]]
    found = model.generate_batch(
        [prompt.tolist() for prompt in prompts],
        generation_config=GenerationConfig(**GREEDY),
        continuous_batching_config=ContinuousBatchingConfig(num_blocks=16, max_batch_tokens=64),
    )
    for prompt, request in zip(prompts, found.values(), strict=True):
        if request.error is not None:
            raise RuntimeError(request.error)
        expected = greedy(model, prompt[None])[0, -NEW:].tolist()
        require(request.generated_tokens == expected, "generated other tokens")


def text_pipeline(given: Model) -> None:
    """`pipeline("text-generation")` from the folder."""
    generator = pipeline("text-generation", model=str(given.folder), **given.trust)
    tokenizer = given.tokenizer
    said = generator("Once upon", return_full_text=True, **GREEDY)[0]["generated_text"]
    prompt = torch.tensor([tokenizer("Once upon").input_ids])
    expected = tokenizer.decode(greedy(given.load(), prompt)[0], skip_special_tokens=True)
    require(said == expected, "generated another text")
