"""What models write, and how fast llama.cpp lets them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SAMPLED = {"max_new_tokens": 32, "do_sample": True, "temperature": 0.7, "top_k": 20}
GREEDY = {"max_new_tokens": 40, "do_sample": False}
TIMED_TOKENS, TIMED_PROMPT = 64, "It was a bright cold day in April, " * 16


def continuations(
    folder: Path, prompts: Sequence[str], *, sampled: bool
) -> Iterator[tuple[str, str]]:
    """Prompts and what a model makes of them in plain transformers, seed 0, in one line each."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    for prompt in prompts:
        inputs = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
        torch.manual_seed(0)
        ids = model.generate(**inputs, **(SAMPLED if sampled else GREEDY))
        written = tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        yield prompt, " ".join(written.split("\n")).rstrip()


@dataclass(frozen=True)
class Speed:
    """Tokens a second of one request, as llama.cpp times it; bytes of its file."""

    bytes: int
    reading: float
    writing: float


def llama_cpp(file: Path, threads: int) -> Speed:
    """Time a GGUF file: the better of two requests, since the first warms up.

    Raises:
        RuntimeError: llama.cpp does not load the file.
    """
    import xllamacpp

    options = xllamacpp.CommonParams()
    options.model.path = str(file)
    options.n_ctx, options.n_parallel = 1024, 1
    options.cpuparams.n_threads = options.cpuparams_batch.n_threads = threads
    options.n_gpu_layers, options.verbosity = 0, 1
    options.fit_params = options.ui = False
    server = xllamacpp.Server(options)
    asked: dict[str, Any] = {"prompt": TIMED_PROMPT, "n_predict": TIMED_TOKENS}
    asked |= {"ignore_eos": True, "temperature": 0, "cache_prompt": False}
    timings = [server.handle_completions(asked)["timings"] for _ in range(2)]
    return Speed(
        file.stat().st_size,
        max(float(one["prompt_per_second"]) for one in timings),
        max(float(one["predicted_per_second"]) for one in timings),
    )
