"""Texts that the models write from the same beginnings, with the same random numbers.

Each model has a process of its own, one after the other: never are two of them in memory.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator, Mapping, Sequence

import torch

from slimgpt.events import Event, ModelName, Progress, Warned
from slimgpt.spec.prune import SampleSpec
from slimgpt.verification import loaders, reload
from slimgpt.verification.loaders import Model
from slimgpt.verification.processes.transformers_samples import SampleAnswer, SampleRequest

Continued = dict[ModelName, list[list[int]]]


def write(
    spec: SampleSpec,
    prompts: Sequence[Sequence[int]],
    models: Mapping[ModelName, Model],
    device: torch.device,
) -> Generator[Event, None, Continued]:
    """Let each model continue the prompts.

    A model that cannot, for example for lack of memory, gives a warning and has no texts.

    Args:
        prompts: token ids, all of one length.

    Returns:
        by model, the ids that follow each prompt.
    """
    request = SampleRequest(
        prompts=[list(prompt) for prompt in prompts],
        new_tokens=spec.new_tokens,
        temperature=spec.temperature,
        seed=spec.seed,
    )
    continued: Continued = {}
    for done, (name, model) in enumerate(models.items()):
        what = f"sample texts, {name}"
        yield Progress(stage="evaluate", done=done, total=len(models), what=what)
        ended = _run(model, request, device)
        if ended.returncode:
            lines = ended.stderr.strip().splitlines() or [f"exit status {ended.returncode}"]
            yield Warned(message=f"{what}: not written, {lines[-1]}")
        else:
            continued[name] = SampleAnswer.model_validate_json(ended.stdout).ids
    return continued


def _run(
    model: Model, request: SampleRequest, device: torch.device
) -> subprocess.CompletedProcess[str]:
    words = loaders.transformers_arguments(model, device)
    return subprocess.run(
        [*reload.python_module("transformers_samples"), str(os.getpid()), *words],
        input=request.model_dump_json() + "\n",
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )
