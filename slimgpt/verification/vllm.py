"""Verifies a published folder with vLLM in a fresh process, if vLLM is installed.

vLLM may be unable to run a model that other loaders run: its kernels do not support narrow heads,
it is built for another device, or its probabilities are NaN. These cases give a warning. Finite
probabilities that differ from the model in memory are an error.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.errors import VerificationError
from slimgpt.events import Verified, Warned
from slimgpt.spec.prune import Format, GgufType, InferenceSpec
from slimgpt.verification import loaders
from slimgpt.verification.formats import OWN, Probe
from slimgpt.verification.loaders import Model
from slimgpt.verification.reload import fresh_process

ERROR = re.compile(r"\b\w*(Error|Exception): ")
LONGEST = 300
SHARES: dict[GgufType, float] = {"f32": 2e-5, "f16": 0.01, "bf16": 0.05}
"""Largest difference allowed, relative to the largest log-probability (docs/formats.md)."""
AHEAD = 2  # generated tokens, the smallest number that can be requested
READ: tuple[Format, ...] = ("exact", "uniform", "padded")


def prove(folder: Path, form: Format, probe: Probe) -> list[Verified | Warned]:
    """Compare log-probabilities of the probe's tokens with vLLM, if it reads the format.

    Args:
        folder: a checkpoint in that format, written by the engine.

    Returns:
        `Verified`, or `Warned` with the reason; empty if vLLM is not installed.

    Raises:
        VerificationError: vLLM's log-probabilities differ.
    """
    name = loaders.vllm()
    if name is None or form not in READ:
        return []
    checkpoint = Checkpoint.open(folder)
    tokens = probe.tokens[:2, :-AHEAD]  # stays within the model's positions
    found, why = _ask(checkpoint, form, tokens, probe.device)
    if found is not None and not found.isfinite().all():
        found, why = None, "its log-probabilities contain NaN or infinity"
    if found is None:
        return [Warned(message=f"format `{form}` is not verified with {name}: {why}")]
    rows = probe.logits[:2, : tokens.shape[1] - 1].double().log_softmax(-1).cpu()
    wanted = rows.gather(-1, tokens[:, 1:, None].cpu())[..., 0]
    difference = float((found - wanted).abs().max())
    bound = SHARES[OWN[probe.logits.dtype]] * float(rows.abs().max())
    if not difference <= bound:
        raise VerificationError(
            f"format `{form}` in {name} differs from the model in memory: log-probabilities differ "
            f"by up to {difference:g}, at most {bound:g} is allowed in {probe.logits.dtype}",
            hint="nothing was published; please report the model and vLLM's version",
        )
    return [
        Verified(
            format=form,
            loader=name,
            max_difference=difference,
            bound=bound,
            bound_is=f"{SHARES[OWN[probe.logits.dtype]]:.3g} of the largest log-probability: "
            "vLLM's own kernels round otherwise",
            tokens=tokens.numel(),
            bytes=sum(file.stat().st_size for file in folder.glob("*.safetensors")),
        )
    ]


def _reason(stderr: str) -> str:
    """The last error in vLLM's output, shortened; else the last line."""
    lines = stderr.strip().splitlines()
    errors = [number for number, line in enumerate(lines) if ERROR.search(line)]
    message = " ".join(" ".join(lines[errors[-1] if errors else -1 :]).split())
    return f": {message[:LONGEST]}" if message else ""


def _ask(
    checkpoint: Checkpoint, form: Format, tokens: torch.Tensor, device: torch.device
) -> tuple[torch.Tensor | None, str]:
    """Log-probabilities (batch, seq - 1), or None and the reason."""
    model = Model(checkpoint.folder, checkpoint.architecture)
    batch, length = tokens.shape
    budget = loaders.memory_budget(
        model, InferenceSpec(batch_sizes=(batch,), prompt_tokens=length, new_tokens=AHEAD)
    )
    probe = {"tokens": tokens.cpu().contiguous()}
    words = [checkpoint.architecture.dtype, str(device), budget.model_dump_json()]
    words += ["trusted"] if form == "exact" else []
    threads = str(torch.get_num_threads())
    answer, done = fresh_process(
        "vllm_logprobs", checkpoint.folder, probe, *words, OMP_NUM_THREADS=threads
    )
    if answer is None:
        return None, f"exit status {done.returncode}{_reason(done.stderr)}"
    return answer["logprobs"], ""
