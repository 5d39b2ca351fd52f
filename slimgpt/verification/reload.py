"""Proof of load through transformers: logits of a fresh process against the model in memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from slimgpt.errors import NumericalError, VerificationError
from slimgpt.events import Verified
from slimgpt.spec.prune import Format

LOADER = f"transformers {transformers.__version__}, AutoModelForCausalLM.from_pretrained"
STDERR_LINES = 12
# Units in the last place of the largest logit. On one device the same kernels give the same bits:
# float32 must be equal, and on CPUs 16 bits were too. Yet a GPU's library may choose its 16-bit
# kernel by how memory lies, which sums in another order and moves the last places of a logit.
LAST_PLACES = {torch.float32: 0, torch.float16: 4, torch.bfloat16: 4}


def verify(
    folder: Path,
    tokens: Tensor,
    expected: Tensor,
    device: torch.device,
    form: Format = "exact",
    allowed: float | None = None,
) -> Verified:
    """Load the folder in a fresh process by plain `from_pretrained` and compare logits.

    Args:
        folder: a whole checkpoint, as it will be shipped.
        tokens: (batch, seq) int64.
        expected: logits of the model in memory on these tokens (batch, seq, vocab), computed on
            `device` as one batch.
        device: where the fresh process computes.
        form: of the folder; `exact` is loaded with trust in its code, the others without.
        allowed: the largest difference; `bound` if None.

    Raises:
        VerificationError: the folder does not load, or the logits differ by more than that.
        NumericalError: those expected are not all finite.
    """
    require_finite(expected)
    if device.type == "cuda":
        torch.cuda.empty_cache()  # the other process needs the room
    logits = _reload(folder, tokens, device, form)
    difference = _compared(logits, expected)
    most = bound(expected) if allowed is None else allowed
    if not difference <= most:
        raise VerificationError(
            f"the reloaded model differs from the model in memory: logits by up to {difference:g}, "
            f"at most {most:g} is allowed in {expected.dtype}",
            hint="nothing was published; run the job again, and report it if it happens twice",
        )
    return Verified(
        format=form,
        loader=LOADER if form == "exact" else f"{LOADER}, without remote code",
        max_difference=difference,
        bound=most,
        tokens=tokens.numel(),
        bytes=sum(file.stat().st_size for file in folder.glob("*.safetensors")),
    )


def _compared(logits: Tensor, expected: Tensor) -> float:
    """The largest difference of logits.

    Raises:
        VerificationError: they have other shapes, or are not numbers.
    """
    if logits.shape != expected.shape or logits.dtype != expected.dtype:
        raise VerificationError(
            f"the reloaded model gives logits {list(logits.shape)} in {logits.dtype}, the model "
            f"in memory {list(expected.shape)} in {expected.dtype}",
            hint="the written config does not describe the weights; please report this",
        )
    if not logits.isfinite().all():
        raise VerificationError(
            "the reloaded model gives NaN or infinity where the model in memory gives numbers",
            hint="nothing was published; run the job again, and report it if it happens twice",
        )
    return _largest(logits, expected)


def require_finite(logits: Tensor) -> None:
    """See that what a loader shall be held to is numbers: nothing can be compared with others.

    Raises:
        NumericalError: there is NaN or infinity among them.
    """
    if not bool(logits.isfinite().all()):
        raise NumericalError(
            "the model in memory gives NaN or infinity, to which no loader can be held",
            hint="its own precision is too narrow for it: take the model in bfloat16 or float32",
        )


def bound(expected: Tensor) -> float:
    """The largest difference that rounding explains: 0 in float32, a few last places in 16 bits.

    Args:
        expected: logits, in the model's dtype.
    """
    return (
        LAST_PLACES[expected.dtype] * torch.finfo(expected.dtype).eps * float(expected.abs().max())
    )


def _largest(logits: Tensor, expected: Tensor) -> float:
    """The largest absolute difference, sequence by sequence; NaN if there is one."""
    pairs = zip(logits, expected, strict=True)
    differences = [(one.double() - two.double()).abs().max() for one, two in pairs]
    return float(torch.stack(differences).max())


def _reload(folder: Path, tokens: Tensor, device: torch.device, form: Format) -> Tensor:
    probe = {"tokens": tokens.cpu().contiguous()}
    threads = str(torch.get_num_threads())
    found, done = fresh_process("transformers_logits", folder, probe, str(device), threads, form)
    if found is None:
        raise VerificationError(
            f"the written checkpoint does not load {tail(done)}",
            hint="nothing was published; exit status -9 means that memory ran out",
        )
    return found["logits"]


def fresh_process(
    module: str, target: Path, probe: Mapping[str, Tensor], *words: str, **more: str
) -> tuple[dict[str, Tensor] | None, subprocess.CompletedProcess[str]]:
    """What a module of `slimgpt.verification.processes` answers to a probe, and how its process ended.

    Args:
        target: what it loads.
        probe: tensors that it reads.
        words: its further arguments.
        more: of its environment.

    Returns:
        its tensors, None where it has written none, and the process.
    """
    with tempfile.TemporaryDirectory(prefix="slimgpt-proof-") as name:
        scratch = Path(name)
        given, out = scratch / "probe.safetensors", scratch / "out.safetensors"
        save_file(dict(probe), given)
        done = subprocess.run(
            [*python_module(module), str(os.getpid()), target, given, out, *words],
            env=environment(scratch) | more,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        return (None if done.returncode or not out.exists() else load_file(out)), done


def python_module(name: str) -> list[str]:
    """The command that runs a module of `slimgpt.verification.processes` in a Python of its own."""
    return [sys.executable, "-m", f"slimgpt.verification.processes.{name}"]


def tail(done: subprocess.CompletedProcess[str]) -> str:
    """How a process ended, and the last that it wrote."""
    lines = done.stderr.strip().splitlines()[-STDERR_LINES:]
    return f"(exit status {done.returncode}): " + "\n".join(lines)


def environment(scratch: Path) -> dict[str, str]:
    """The caller's, without the network, and with the copy of the modelling file apart."""
    return os.environ | {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_MODULES_CACHE": str(scratch / "modules"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
