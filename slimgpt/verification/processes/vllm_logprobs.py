"""Subprocess: loads a published folder with vLLM and writes token log-probabilities.

    python -m slimgpt.verification.processes.vllm_logprobs \\
        PARENT_PID FOLDER PROBE OUT DTYPE DEVICE BUDGET [trusted]

PROBE holds `tokens` (batch, seq) int64; OUT will hold `logprobs` (batch, seq - 1), of each token
given those before it. `trusted` allows code in the folder: pass it only for a folder that the
engine has just written.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from slimgpt.verification.processes import vllm_timing
from slimgpt.verification.processes.vllm_timing import MemoryBudget


def main(arguments: list[str]) -> None:
    """Run the probe through the folder's model."""
    folder, probe, out, dtype, device_name, budget, *rest = arguments
    device = vllm_timing.select_device(device_name)
    tokens = load_file(probe)["tokens"].tolist()
    model = vllm_timing.load(
        Path(folder),
        dtype,
        device,
        MemoryBudget.model_validate_json(budget),
        trusted=rest == ["trusted"],
    )
    from vllm import SamplingParams

    sampling = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False)
    prompts = [{"prompt_token_ids": prompt} for prompt in tokens]
    found = []
    outputs = model.generate(prompts, sampling, use_tqdm=False)
    for prompt, output in zip(tokens, outputs, strict=True):
        pairs = zip(prompt[1:], output.prompt_logprobs[1:], strict=True)
        found.append([place[token].logprob for token, place in pairs])
    save_file({"logprobs": torch.tensor(found, dtype=torch.float64)}, out)


if __name__ == "__main__":
    from slimgpt.machine.child_process import exit_with_parent

    exit_with_parent(int(sys.argv[1]))
    sys.stdin.readline()  # there is a probe now, and the file or folder is complete
    os.environ.update(vllm_timing.ENVIRONMENT)
    main(sys.argv[2:])
