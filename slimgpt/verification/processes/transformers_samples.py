"""Subprocess: loads a model with transformers and continues texts, with given random numbers.

    python -m slimgpt.verification.processes.transformers_samples \\
        PARENT_PID FOLDER MODEL_TYPE DTYPE DEVICE THREADS

FOLDER was made by `slimgpt.checkpoints.output.whole_model`. The first line of standard input
is a `SampleRequest` as JSON, that of standard output the `SampleAnswer`.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor

from slimgpt.verification.processes.transformers_timing import load

TINY = 1e-20


class SampleRequest(BaseModel):
    """Prompts of one length, as token ids, and how to continue them."""

    prompts: list[list[int]]
    new_tokens: int
    temperature: float
    seed: int


class SampleAnswer(BaseModel):
    """The ids that follow each prompt."""

    ids: list[list[int]]


def main(arguments: list[str]) -> None:
    """Load the model, answer the request."""
    model, device = load(arguments)
    request = SampleRequest.model_validate_json(sys.stdin.readline())
    print(answer(model, request, device).model_dump_json(), flush=True)  # noqa: T201


@torch.no_grad()
def answer(model: Any, request: SampleRequest, device: torch.device) -> SampleAnswer:
    """Continue the prompts.

    Each id is the largest of logit / temperature plus Gumbel noise, which is a draw from the
    softmax (Gumbel-max). The noise depends on the seed, the place and the vocabulary only: models
    with the same logits write the same text, and what differs is the models' own.
    """
    generator = torch.Generator().manual_seed(request.seed)
    output = model(torch.tensor(request.prompts, device=device), use_cache=True, logits_to_keep=1)
    ids = [_drawn(output.logits, request.temperature, generator)]
    for _ in range(request.new_tokens - 1):
        output = model(ids[-1], past_key_values=output.past_key_values, use_cache=True)
        ids.append(_drawn(output.logits, request.temperature, generator))
    return SampleAnswer(ids=torch.cat(ids, dim=1).tolist())


def _drawn(logits_BSV: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """One id for each prompt, (B, 1)."""
    last_BV = logits_BSV[:, -1].float()
    uniform_BV = torch.rand(last_BV.shape, generator=generator, dtype=torch.float64)
    gumbel_BV = -(-(uniform_BV.clamp_min(TINY).log())).clamp_min(TINY).log()
    noisy_BV = last_BV / temperature + gumbel_BV.to(last_BV)
    return noisy_BV.argmax(-1, keepdim=True)


if __name__ == "__main__":
    from slimgpt.machine.child_process import exit_with_parent

    exit_with_parent(int(sys.argv[1]))
    main(sys.argv[2:])
