"""Subprocess: loads a published folder with transformers and writes its logits.

    python -m slimgpt.verification.processes.transformers_logits \\
        PARENT_PID FOLDER PROBE OUT DEVICE THREADS [FORMAT]

PROBE holds `tokens` (batch, seq) int64; OUT will hold `logits` (batch, seq, vocab). Only a folder
of format `exact` is loaded with `trust_remote_code`. A separate process, started by
`slimgpt.verification.reload`, shares no state with the model in memory.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file

ROOM = 1.25  # times the weights: weights and the activations of a short probe


def main(arguments: list[str]) -> None:
    """Run the probe through the folder's model."""
    folder, probe, out, device, threads, *rest = arguments
    torch.set_num_threads(int(threads))
    torch.set_float32_matmul_precision("highest")  # as `slimgpt.machine.precision` has it
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    tokens = load_file(probe)["tokens"]
    model = load(Path(folder), torch.device(device), trusted=rest in ([], ["exact"]))
    with torch.no_grad():
        logits = model(tokens.to(device), use_cache=False).logits
    save_file({"logits": logits.cpu().contiguous()}, out)


def load(folder: Path, device: torch.device, trusted: bool) -> Any:
    """The model by plain `from_pretrained`, on the device, in evaluation mode.

    A model that does not fit the GPU stays in host memory, and accelerate moves it to the GPU layer
    by layer, so that all products are computed on the same device.
    """
    options: dict[str, Any] = {}
    if device.type == "cuda":
        options["device_map"] = {"": device} if _fits(folder, device) else "auto"
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, trust_remote_code=trusted, dtype="auto", **options
    )
    return model.eval()


def _fits(folder: Path, device: torch.device) -> bool:
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    free, _ = torch.cuda.mem_get_info(device)
    return weights * ROOM < free


if __name__ == "__main__":
    from slimgpt.machine.child_process import exit_with_parent

    exit_with_parent(int(sys.argv[1]))
    sys.stdin.readline()  # there is a probe now, and the file or folder is complete
    main(sys.argv[2:])
