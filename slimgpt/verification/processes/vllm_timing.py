"""Subprocess: loads a model with vLLM and times generation on request.

    python -m slimgpt.verification.processes.vllm_timing PARENT_PID FOLDER DTYPE DEVICE BUDGET

FOLDER was made by `slimgpt.checkpoints.output.whole_model`; its modelling file, which
`trust_remote_code` runs, is the engine's own. BUDGET is a `MemoryBudget` as JSON. vLLM's engine
runs inside this process, so that all prompts of a batch arrive before its first step, and so that
it ends with this process. Prefix caching is off.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, TextIO

import torch
from pydantic import BaseModel

from slimgpt.machine import memory
from slimgpt.verification.processes.transformers_timing import GenerationRequest, GenerationTiming

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the same number of threads as transformers
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}


class MemoryBudget(BaseModel):
    """Memory for the largest request.

    Attributes:
        batch: sequences at once.
        tokens: tokens in each sequence.
        cache_bytes: of the KV cache.
        device_bytes: of KV cache, weights and activations together.
    """

    batch: int
    tokens: int
    cache_bytes: int
    device_bytes: int


def main(arguments: list[str], answers: TextIO) -> None:
    """Load the model, then answer requests until standard input ends."""
    folder, dtype, device_name, budget = arguments
    device = select_device(device_name)
    model = load(Path(folder), dtype, device, MemoryBudget.model_validate_json(budget))
    for line in sys.stdin:
        timing = answer(model, GenerationRequest.model_validate_json(line), device)
        print(timing.model_dump_json(), file=answers, flush=True)


def select_device(name: str) -> torch.device:
    """Make the device the first that vLLM sees, the only one it uses; call before CUDA starts."""
    device = torch.device(name)
    if device.index:
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        found = seen[device.index] if len(seen) > device.index else str(device.index)
        os.environ["CUDA_VISIBLE_DEVICES"] = found
    return torch.device(device.type)


def load(
    folder: Path, dtype: str, device: torch.device, budget: MemoryBudget, *, trusted: bool = True
) -> Any:
    """Load the model in vLLM, with a KV cache for the largest request.

    Args:
        trusted: whether code in the folder may run.

    Raises:
        SystemExit: this vLLM was built for another kind of device.
        Exception: any error of vLLM when it cannot load the model.
    """
    import vllm
    from vllm.platforms import current_platform

    if current_platform.device_type != device.type:
        built = current_platform.device_type or "no device"
        raise SystemExit(f"this vLLM is for {built}, the job runs on {device.type}")
    share = {}
    if device.type == "cuda":
        _, total = torch.cuda.mem_get_info(device)
        share = {"gpu_memory_utilization": min(0.95, budget.device_bytes / total)}
    return vllm.LLM(
        model=str(folder),
        skip_tokenizer_init=True,
        trust_remote_code=trusted,
        dtype=dtype,
        enforce_eager=device.type == "cpu",  # compiling would take longer than the measurement
        enable_prefix_caching=False,
        disable_log_stats=False,  # the times are part of the statistics
        max_model_len=budget.tokens,
        max_num_seqs=budget.batch,
        max_num_batched_tokens=budget.batch * budget.tokens,  # all prompts in one step
        kv_cache_memory_bytes=budget.cache_bytes,
        seed=0,
        **share,
    )


def answer(model: Any, request: GenerationRequest, device: torch.device) -> GenerationTiming:
    """Generate greedily; prefill and decoding are timed separately by vLLM's engine."""
    from vllm import SamplingParams

    generator = torch.Generator().manual_seed(request.seed)
    vocabulary = model.llm_engine.model_config.get_vocab_size()
    prompts = torch.randint(vocabulary, (request.batch, request.prompt_tokens), generator=generator)
    greedy = SamplingParams(
        temperature=0.0,
        max_tokens=request.new_tokens,
        min_tokens=request.new_tokens,
        ignore_eos=True,
        detokenize=False,
    )
    memory.forget_peak(device)
    inputs = [{"prompt_token_ids": prompt} for prompt in prompts.tolist()]
    done = model.generate(inputs, greedy, use_tqdm=False)
    times = [one.metrics for one in done]
    prefilled = max(time.first_token_ts for time in times)
    return GenerationTiming(
        prefill=prefilled - min(time.scheduled_ts for time in times),
        decode=max(time.last_token_ts for time in times) - prefilled,
        peak_memory_bytes=memory.peak_bytes(device),
        ids=[list(one.outputs[0].token_ids) for one in done],
    )


if __name__ == "__main__":
    from slimgpt.machine.child_process import exit_with_parent

    exit_with_parent(int(sys.argv[1]))
    os.environ.update(ENVIRONMENT)
    # vLLM writes to standard output, so that is redirected; answers use the original descriptor.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    main(sys.argv[2:], answers)
