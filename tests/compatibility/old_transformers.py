"""Do other versions of transformers compute the same from a published folder?

    python -m tests.compatibility.old_transformers [VERSION | PYTHON ...]

For each version (4.57.* by default; or an interpreter that has one) a virtual environment is made
in a temporary folder, with the installed torch (found through PIP_FIND_LINKS where that is set).
Tiny models of every family are pruned and published here, some with llama3 rope, and pruned once
more; they are loaded there by plain `from_pretrained`, and logits on the same tokens are compared.
Exits with 1 if any differ, experts by more than rounding. Not part of the default test run: it
installs packages.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
import transformers
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import Tensor

import slimgpt
from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.layers.stack import Stack
from tests.slimgpt.pruned import lots, publish
from tests.slimgpt.tiny import FALCON_7B, FALCON_OLD, FAMILIES, ROUTED, Tiny, tokens

DEFAULT = "4.57.*"
RELOAD = Path(slimgpt.__file__).parent / "verification/processes/transformers_logits.py"
CPU = torch.device("cpu")
DRIVER = """
import importlib.util, sys, transformers
spec = importlib.util.spec_from_file_location("reload", sys.argv[1])
reload = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reload)
for line in sys.stdin:
    reload.main(line.strip().split("\\t"))
print("transformers", transformers.__version__)
"""
MODELS = {
    **{family: Tiny(family) for family in FAMILIES},
    **{f"{family}-llama3-rope": Tiny(family, llama3_rope=True) for family in FAMILIES[:4]},
    "stablelm-parallel": Tiny(
        "stablelm", own={"use_parallel_residual": True, "qk_layernorm": True}
    ),
    "gpt_neox-in-turn": Tiny("gpt_neox", own={"use_parallel_residual": False}, tied=True),
    "falcon-7b": Tiny("falcon", own=FALCON_7B, kv_heads=1),
    "falcon-old": Tiny("falcon", own=FALCON_OLD, kv_heads=4),
    "llama-biases-tied": Tiny(biases=True, tied=True, head_dim=16),
    "qwen2-tied": Tiny("qwen2", tied=True, kv_heads=4),
    "llama-12-layers": Tiny(layers=12, dtype="bfloat16"),
}
Published = dict[Path, tuple[Tensor, Tensor]]
console = Console(highlight=False, soft_wrap=True)


def main(versions: list[str]) -> int:
    """Compare under each version; the exit status."""
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="slimgpt-old-") as name:
        home = Path(name)
        folders = publish_all(home, MODELS)
        differ = [
            version
            for number, version in enumerate(versions)
            if not _same(folders, environment(home / f"venv-{number}", version), home)
        ]
    return 1 if differ else 0


def publish_all(home: Path, models: Mapping[str, Tiny]) -> Published:
    """Published folders, each with its tokens and the logits that the engine computes."""
    folders: Published = {}
    for name, tiny in models.items():
        dense = Checkpoint.open(tiny.save(home / f"{name}-dense"))
        once = publish(dense, lots(dense.architecture), home / name)
        pruned = Checkpoint.open(once)
        twice = publish(pruned, lots(pruned.architecture, seed=9), home / f"{name}-twice")
        ids = tokens(tiny, length=60)
        for folder in (once, twice):
            folders[folder] = ids, Stack(Checkpoint.open(folder), CPU).logits(ids)
    return folders


def environment(folder: Path, version: str) -> Path:
    """The interpreter of a new virtual environment with a version of transformers."""
    if Path(version).is_file():
        return Path(version)
    variables = dict(os.environ)
    if "PIP_FIND_LINKS" in variables:
        variables.setdefault("UV_FIND_LINKS", variables["PIP_FIND_LINKS"])
    uv = [sys.executable, "-m", "uv"]
    python = folder / "bin" / "python"
    release = torch.__version__.partition("+")[0]
    install = ["pip", "install", "-q", "-p", str(python)]
    packages = [f"transformers=={version}", f"torch=={release}", "numpy"]
    subprocess.run([*uv, "venv", "-q", folder], env=variables, check=True)
    subprocess.run([*uv, *install, *packages], env=variables, check=True)
    return python


def _same(folders: Published, python: Path, home: Path) -> bool:
    """Load every folder with that interpreter and print how far its logits are from ours."""
    printed, differences = reload_all(folders, python, home)
    for name, difference in differences.items():
        console.print(f"{printed}  {name:28} max |difference| {difference:g}")
    return all(difference <= bound(name) for name, difference in differences.items())


def bound(name: str) -> float:
    """0; but transformers before 5 runs experts one after the other, and rounds otherwise."""
    return 1e-5 if name.startswith(ROUTED) else 0.0


def reload_all(
    folders: Published, python: Path, home: Path, form: str = "exact"
) -> tuple[str, dict[str, float]]:
    """Run `slimgpt.verification.processes.transformers_logits` on every folder in one process.

    Args:
        form: of the folders; `exact` is loaded with trust in its code, the others without.

    Returns:
        the version that ran it, and by folder the largest difference of any logit.
    """
    lines = []
    for folder, (ids, _) in folders.items():
        probe, out = home / f"{folder.name}.probe", home / f"{folder.name}.out"
        save_file({"tokens": ids}, probe)
        lines.append(f"{folder}\t{probe}\t{out}\tcpu\t1\t{form}")
    said = subprocess.run(
        [str(python), "-c", DRIVER, str(RELOAD)],
        input="\n".join(lines),
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(home / "modules")},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.strip()
    differences = {}
    for folder, (_, expected) in folders.items():
        logits = load_file(home / f"{folder.name}.out")["logits"]
        differences[folder.name] = float((logits.double() - expected).abs().max())
    return said, differences


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or [DEFAULT]))
