"""Proof that what was written loads elsewhere, and computes what the model in memory computed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from slimgpt.errors import NumericalError, VerificationError
from slimgpt.events import Verified
from slimgpt.spec.prune import Format

LOADER = f"transformers {transformers.__version__}, AutoModelForCausalLM.from_pretrained"
COMMAND = (sys.executable, "-m", "slimgpt.proof.processes.transformers_logits")
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
    difference = _largest(logits, expected)
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
    with tempfile.TemporaryDirectory(prefix="slimgpt-verify-") as name:
        scratch = Path(name)
        probe, out = scratch / "probe.safetensors", scratch / "out.safetensors"
        save_file({"tokens": tokens.cpu().contiguous()}, probe)
        threads = str(torch.get_num_threads())
        finished = subprocess.run(
            [*COMMAND, str(os.getpid()), folder, probe, out, str(device), threads, form],
            env=environment(scratch),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if finished.returncode or not out.exists():
            raise VerificationError(
                f"the written checkpoint does not load (exit status {finished.returncode}): "
                + "\n".join(finished.stderr.strip().splitlines()[-STDERR_LINES:]),
                hint="nothing was published; exit status -9 means that memory ran out",
            )
        return load_file(out)["logits"]


def environment(scratch: Path) -> dict[str, str]:
    """The caller's, without the network, and with the copy of the modelling file apart."""
    return os.environ | {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_MODULES_CACHE": str(scratch / "modules"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
