"""Subprocess: loads a model with transformers and times generation on request.

    python -m slimgpt.verification.processes.transformers_timing \\
        PARENT_PID FOLDER MODEL_TYPE DTYPE DEVICE THREADS

FOLDER was made by `slimgpt.checkpoints.output.whole_model`. Every line of standard input is a
`GenerationRequest` as JSON, every line of standard output the `GenerationTiming` that answers it.
Two such processes, asked in turn, time two models under the same machine load, each with its own
peak memory.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor

from slimgpt.checkpoints.families.table import FAMILIES
from slimgpt.checkpoints.output import whole_model
from slimgpt.machine import memory, precision


class GenerationRequest(BaseModel):
    """What to generate: `new_tokens` after prompts of `prompt_tokens` random ids."""

    batch: int
    prompt_tokens: int
    new_tokens: int
    seed: int = 0


class GenerationTiming(BaseModel):
    """Seconds for the prompt and for all other tokens, peak memory, generated ids."""

    prefill: float
    decode: float
    peak_memory_bytes: int
    ids: list[list[int]]


def main(arguments: list[str]) -> None:
    """Load the model, then answer requests until standard input ends."""
    model, device = load(arguments)
    for line in sys.stdin:
        request = GenerationRequest.model_validate_json(line)
        print(answer(model, request, device).model_dump_json(), flush=True)  # noqa: T201


def load(arguments: list[str]) -> tuple[Any, torch.device]:
    """The model and the device of the command's arguments, after its settings of torch."""
    folder, model_type, dtype, device_name, threads = arguments
    torch.set_num_threads(int(threads))
    precision.refuse_tf32()
    device = torch.device(device_name)
    return whole_model.load(Path(folder), FAMILIES[model_type], dtype, device), device


@torch.no_grad()
def answer(model: Any, request: GenerationRequest, device: torch.device) -> GenerationTiming:
    """Generate greedily; prefill and decoding are timed separately."""
    generator = torch.Generator().manual_seed(request.seed)
    shape = (request.batch, request.prompt_tokens)
    prompt = torch.randint(model.config.vocab_size, shape, generator=generator).to(device)
    memory.forget_peak(device)
    began = _now(device)
    output = model(prompt, use_cache=True, logits_to_keep=1)
    ids = [_next(output.logits)]
    prefilled = _now(device)
    for _ in range(request.new_tokens - 1):
        output = model(ids[-1], past_key_values=output.past_key_values, use_cache=True)
        ids.append(_next(output.logits))
    ended = _now(device)
    return GenerationTiming(
        prefill=prefilled - began,
        decode=ended - prefilled,
        peak_memory_bytes=memory.peak_bytes(device),
        ids=torch.cat(ids, dim=1).tolist(),
    )


def _next(logits: Tensor) -> Tensor:
    return logits[:, -1:].argmax(-1)


def _now(device: torch.device) -> float:
    """The time, after all queued work of the device is finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


if __name__ == "__main__":
    from slimgpt.machine.child_process import exit_with_parent

    exit_with_parent(int(sys.argv[1]))
    main(sys.argv[2:])
