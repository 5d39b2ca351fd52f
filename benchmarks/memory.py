"""Peak memory of the engine does not grow with depth: a shallow and a deep model of one width.

`python -m benchmarks.memory` writes two random Llamas that differ in depth alone and prunes
each in a fresh process (`python -m slimgpt run`). The engine streams layers, so its peak is
that of one layer. The process that proves the written checkpoint loads it whole, as any user
would; its peak is listed beside.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks import results
from slimgpt.events import Result, parse
from slimgpt.spec.prune import CalibrationSpec, EvaluationSpec, PruneSpec

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "model"
WIDTH = {"hidden_size": 512, "intermediate_size": 1408, "num_attention_heads": 8}
MIB = 1 << 20
ALLOWED_GROWTH = 0.1
console = Console(highlight=False, soft_wrap=True)


def memory(
    shallow: Annotated[int, typer.Option(help="Layers of the shallow model.")] = 4,
    deep: Annotated[int, typer.Option(help="Layers of the deep model.")] = 24,
) -> None:
    """Measure both depths and write benchmarks/results/memory.md and .json."""
    rows = []
    for layers in (shallow, deep):
        rows.append(row := measure(layers))
        console.print("  ".join(f"{key} {value}" for key, value in row.items()))
    growth = rows[1]["engine MiB"] / rows[0]["engine MiB"] - 1
    console.print(f"growth from {shallow} to {deep} layers: {growth:+.1%}")
    path = results.write("memory", {**WIDTH, "growth": f"{growth:+.1%}"}, rows)
    console.print(f"written: {path}")
    if growth > ALLOWED_GROWTH:
        raise SystemExit(f"the engine's peak grows with depth by {growth:.1%}")


def measure(layers: int) -> dict[str, Any]:
    """Prune a random model of so many layers in a fresh process; sizes in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        parameters = write_model(root / "random", layers)
        (root / "spec.json").write_text(_spec().model_dump_json())
        result, any_process = _run(root)
    return {
        "layers": layers,
        "parameters": parameters,
        "weights MiB": round(parameters * 4 / MIB),
        "engine MiB": round(result.peak_memory_bytes / MIB),
        "largest process MiB": round(any_process / MIB),
        "seconds": round(result.seconds),
    }


def write_model(folder: Path, layers: int) -> int:
    """Write a random float32 Llama with the example model's tokenizer; its parameters."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=json.loads((EXAMPLE / "config.json").read_text())["vocab_size"],
        num_hidden_layers=layers,
        num_key_value_heads=4,
        tie_word_embeddings=True,
        max_position_embeddings=512,
        bos_token_id=0,
        eos_token_id=1,
        **WIDTH,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(EXAMPLE / name, folder)
    return int(model.num_parameters())


def _spec() -> PruneSpec:
    return PruneSpec(
        model="local:random",
        ratio=0.25,
        calibration=CalibrationSpec(
            source="local:calibration.jsonl", samples=16, sequence_length=256
        ),
        evaluation=EvaluationSpec(texts=("local:evaluation.jsonl",), max_tokens=2048),
    )


def _run(root: Path) -> tuple[Result, int]:
    """The engine's result, and the peak in bytes of the largest of its processes (the kernel's)."""
    command = [sys.executable, "-m", "slimgpt", "run", str(root / "spec.json"), str(root / "work")]
    command += ["--models-root", str(root), "--texts-root", str(EXAMPLE / "texts")]
    with (root / "events").open("w+") as events:
        process = subprocess.Popen([*command, "--device", "cpu"], stdout=events)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        events.seek(0)
        last = parse(events.readlines()[-1])
    if not isinstance(last, Result):
        raise SystemExit(f"the engine failed: {last.line()}")
    return last, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    typer.run(memory)
