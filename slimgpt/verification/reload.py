"""Reloads a written folder with transformers in a fresh process and compares logits.

The process is started before the folder is complete: it imports its libraries meanwhile.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from slimgpt.errors import NumericalError, VerificationError
from slimgpt.events import Verified
from slimgpt.spec.prune import Format

LOADER = f"transformers {transformers.__version__}, AutoModelForCausalLM.from_pretrained"
STDERR_LINES = 12
# In units of the largest logit's last place. The same kernels on one device give the same bits, so
# float32 must be equal. A GPU library may choose its 16-bit kernel by memory alignment, which
# changes the summation order.
LAST_PLACES = {torch.float32: 0, torch.float16: 4, torch.bfloat16: 4}


def verify(
    folder: Path,
    tokens: Tensor,
    expected: Tensor,
    device: torch.device,
    form: Format = "exact",
    allowed: tuple[float, str] | None = None,
) -> Verified:
    """Load the folder in a fresh process by plain `from_pretrained` and compare logits.

    Args:
        folder: a complete checkpoint, as it will be published.
        tokens: (batch, seq) int64.
        expected: (batch, seq, vocab), logits of the model in memory on these tokens, computed on
            `device` as one batch.
        device: the fresh process's device.
        form: the folder's format; only `exact` is loaded with `trust_remote_code`.
        allowed: the largest difference allowed, and where it comes from in words;
            `bound(expected)` if None.

    Raises:
        VerificationError: the folder does not load, or the logits differ by more than allowed.
        NumericalError: the expected logits are not all finite.
    """
    with Loading(folder, device, form) as process:
        return prove(process, tokens, expected, allowed)


def prove(
    process: Loading, tokens: Tensor, expected: Tensor, allowed: tuple[float, str] | None = None
) -> Verified:
    """As `verify`, by a process that was started before; its folder is complete now."""
    require_finite(expected)
    difference = _compared(process.logits(tokens), expected)
    most, reason = bound(expected) if allowed is None else allowed
    if not difference <= most:
        raise VerificationError(
            f"the reloaded model differs from the model in memory: logits differ by up to "
            f"{difference:g}, at most {most:g} is allowed in {expected.dtype}",
            hint="nothing was published; run the job again, and report it if it happens twice",
        )
    return Verified(
        format=process.form,
        loader=LOADER if process.form == "exact" else f"{LOADER}, without remote code",
        max_difference=difference,
        bound=most,
        bound_is=reason,
        tokens=tokens.numel(),
        bytes=sum(file.stat().st_size for file in process.folder.glob("*.safetensors")),
    )


def _compared(logits: Tensor, expected: Tensor) -> float:
    """The largest absolute difference of logits.

    Raises:
        VerificationError: shapes or dtypes differ, or the logits are not all finite.
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
    """Check that the logits to compare with are finite.

    Raises:
        NumericalError: there is NaN or infinity among them.
    """
    if not bool(logits.isfinite().all()):
        raise NumericalError(
            "the logits of the model in memory contain NaN or infinity and cannot be verified",
            hint="the checkpoint's precision is too low: prune the model in bfloat16 or float32",
        )


def bound(expected: Tensor) -> tuple[float, str]:
    """The largest difference that rounding explains, and why in words.

    0 in float32, a few last places in 16 bits.

    Args:
        expected: (batch, seq, vocab) logits, model dtype.
    """
    places = LAST_PLACES[expected.dtype]
    if not places:
        return 0.0, "the same sums in the same order must be equal"
    return in_places(expected, places, "a GPU library may choose another order of summation")


def in_places(expected: Tensor, places: float, reason: str) -> tuple[float, str]:
    """So many units in the last place of the largest logit."""
    largest = float(expected.abs().max())
    name = str(expected.dtype).removeprefix("torch.")
    said = f"{places:g} last places of the largest logit, {largest:.3g}, in {name}: {reason}"
    return places * torch.finfo(expected.dtype).eps * largest, said


def _largest(logits: Tensor, expected: Tensor) -> float:
    """The largest absolute difference, sequence by sequence; NaN if there is one."""
    pairs = zip(logits, expected, strict=True)
    differences = [(one.double() - two.double()).abs().max() for one, two in pairs]
    return float(torch.stack(differences).max())


class FreshProcess:
    """A module of `slimgpt.verification.processes` that has been started and waits to be asked.

    Args:
        target: the file or folder that it will load.
        words: further arguments.
        more: further environment variables.
    """

    def __init__(self, module: str, target: Path, *words: str, **more: str) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="slimgpt-proof-")
        scratch = Path(self._scratch.name)
        self._given, self._out = scratch / "probe.safetensors", scratch / "out.safetensors"
        paths = map(str, (target, self._given, self._out))
        self._process = subprocess.Popen(
            [*python_module(module), str(os.getpid()), *paths, *words],
            env=environment(scratch) | more,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )

    def ask(
        self, probe: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor] | None, subprocess.CompletedProcess[str]]:
        """Let it load its target and run a probe, once.

        Returns:
            The tensors that it wrote, None if none, and the completed process.
        """
        save_file(dict(probe), self._given)
        process = self._process
        output, errors = process.communicate("\n")
        done = subprocess.CompletedProcess(process.args, process.returncode, output, errors)
        failed = process.returncode or not self._out.exists()
        return (None if failed else load_file(self._out)), done

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._scratch.cleanup()


class Loading(FreshProcess):
    """A process that will load a folder with transformers.

    Args:
        folder: of the checkpoint, which need not exist yet.
        device: of the process.
        form: the folder's format.
    """

    def __init__(self, folder: Path, device: torch.device, form: Format) -> None:
        self.folder, self.form, self._device = folder, form, device
        threads = str(torch.get_num_threads())
        super().__init__("transformers_logits", folder, str(device), threads, form)

    def logits(self, tokens: Tensor) -> Tensor:
        """The loaded model's logits, (batch, seq, vocab).

        Raises:
            VerificationError: the folder does not load.
        """
        if self._device.type == "cuda":
            torch.cuda.empty_cache()  # for the other process
        found, done = self.ask({"tokens": tokens.cpu().contiguous()})
        if found is None:
            raise VerificationError(
                f"the written checkpoint cannot be loaded {tail(done)}",
                hint="nothing was published; exit status -9: something killed it, perhaps for "
                "memory",
            )
        return found["logits"]


def fresh_process(
    module: str, target: Path, probe: Mapping[str, Tensor], *words: str, **more: str
) -> tuple[dict[str, Tensor] | None, subprocess.CompletedProcess[str]]:
    """Run a module of `slimgpt.verification.processes` on a probe; as `FreshProcess.ask`."""
    with FreshProcess(module, target, *words, **more) as process:
        return process.ask(probe)


def python_module(name: str) -> list[str]:
    """The command that runs a module of `slimgpt.verification.processes` in a Python of its own."""
    return [sys.executable, "-m", f"slimgpt.verification.processes.{name}"]


def tail(done: subprocess.CompletedProcess[str]) -> str:
    """The exit status of a process and the last lines of its standard error."""
    lines = done.stderr.strip().splitlines()[-STDERR_LINES:]
    return f"(exit status {done.returncode}): " + "\n".join(lines)


def environment(scratch: Path) -> dict[str, str]:
    """The caller's environment, offline, with the cache of modelling files below `scratch`."""
    return os.environ | {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_MODULES_CACHE": str(scratch / "modules"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
