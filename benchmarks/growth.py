"""How the engine's time and peak memory grow with depth and with calibration text.

`python -m benchmarks.growth` writes random Llamas of one width and prunes each in a fresh process
(`python -m slimgpt run`), by recipe `paper` and `measured`. The engine streams layers: its time
should be linear in both, and its memory flat in depth, but for what `measured` keeps in host memory
of every second layer.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import torch
import typer
from rich.console import Console
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks import results
from slimgpt.events import Result, StageFinished, parse
from slimgpt.planning.forecast import MEASURED, PROBE_TOKENS, PROBES
from slimgpt.report.plots import canvas, svg
from slimgpt.spec.prune import CalibrationSpec, EvaluationSpec, PruneSpec
from slimgpt.spec.recipe import Recipe

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "model"
WIDTH = {"hidden_size": 512, "intermediate_size": 1408, "num_attention_heads": 8}
LENGTH = 256  # tokens of a sequence
MIB = 1 << 20
ALLOWED_GROWTH = 0.1
STREAMS = len(MEASURED)  # a layer, of the survey: of both modules of every second layer
console = Console(highlight=False, soft_wrap=True)


def growth(
    layers: Annotated[list[int] | None, typer.Option(help="Depths; unset: 4, 8, 16, 24.")] = None,
    samples: Annotated[
        list[int] | None, typer.Option(help="Sequences; unset: 16, 64, 128, 256.")
    ] = None,
) -> None:
    """Write benchmarks/results/growth.md, .json and .svg."""
    depths, texts = layers or [4, 8, 16, 24], samples or [16, 64, 128, 256]
    runs = [("depth", depth, texts[0]) for depth in depths]
    runs += [("text", depths[0], text) for text in texts]
    rows = []
    for series, depth, text in runs:
        for recipe in get_args(Recipe):
            rows.append(row := {"series": series} | measure(depth, text, recipe))
            console.print("  ".join(f"{key} {value}" for key, value in row.items()))
    settings = {**WIDTH, "threads": torch.get_num_threads(), "load": os.getloadavg()[0]}
    path = results.write("growth", settings, rows, after="\n![Growth](growth.svg)\n")
    draw(path.with_suffix(".svg"), rows)
    console.print(f"written: {path}")
    check(rows)


def measure(layers: int, samples: int, recipe: Recipe) -> dict[str, Any]:
    """Prune a random model of so many layers in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        parameters = write_model(root / "random", layers)
        (root / "spec.json").write_text(_spec(samples, recipe).model_dump_json())
        seconds, result = _run(root)
    return {
        "recipe": recipe,
        "layers": layers,
        "tokens": samples * LENGTH,
        "parameters": parameters,
        "weights MiB": round(parameters * 4 / MIB),
        "engine MiB": round(result.peak_memory_bytes / MIB),
        "plan and prune, s": seconds["plan"] + seconds["prune"],
    }


def check(rows: Sequence[dict[str, Any]]) -> None:
    """Refuse a peak that grows with depth by more than the survey's streams.

    Raises:
        SystemExit: it does.
    """
    for recipe in get_args(Recipe):
        first, *_, last = [
            row for row in rows if row["series"] == "depth" and row["recipe"] == recipe
        ]
        width = WIDTH["hidden_size"] * 4
        kept = STREAMS * PROBES * PROBE_TOKENS * width / MIB if recipe == "measured" else 0.0
        more = last["engine MiB"] - first["engine MiB"]
        unexplained = (more - kept * (last["layers"] - first["layers"])) / first["engine MiB"]
        console.print(
            f"recipe {recipe}: {more:+} MiB from {first['layers']} to {last['layers']} layers, of "
            f"which the survey's streams do not explain {unexplained:+.1%}"
        )
        if unexplained > ALLOWED_GROWTH:
            raise SystemExit(f"the engine's peak grows with depth by {unexplained:.1%}")


def draw(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """A panel for each of time and memory by depth and by text, a line for each recipe."""
    panels = [
        (series, over, what)
        for series, over in (("depth", "layers"), ("text", "tokens"))
        for what in ("plan and prune, s", "engine MiB")
    ]
    with svg.drawing():
        figure, places = canvas.canvas(3.4, len(panels))
        for (series, over, what), axes in zip(panels, places, strict=True):
            for recipe in get_args(Recipe):
                points = [
                    (row[over], row[what])
                    for row in rows
                    if row["series"] == series and row["recipe"] == recipe
                ]
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3.5, label=recipe)
            axes.set_ylim(bottom=0)
            axes.set_xlabel(over)
            axes.set_ylabel(what)
        canvas.legend(figure, places[0])
        figure.savefig(file, format="svg", metadata={"Date": None})


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


def _spec(samples: int, recipe: Recipe) -> PruneSpec:
    return PruneSpec(
        model="local:random",
        ratio=0.25,
        recipe=recipe,
        calibration=CalibrationSpec(
            source="local:calibration.jsonl", samples=samples, sequence_length=LENGTH
        ),
        evaluation=EvaluationSpec(texts=("local:evaluation.jsonl",), max_tokens=2048),
    )


def _run(root: Path) -> tuple[dict[str, float], Result]:
    """Seconds of every stage, and the engine's result."""
    command = [sys.executable, "-m", "slimgpt", "run", str(root / "spec.json"), str(root / "work")]
    command += ["--models-root", str(root), "--texts-root", str(EXAMPLE / "texts")]
    command += ["--device", "cpu"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    events = [parse(line) for line in done.stdout.splitlines()]
    last = events[-1]
    if not isinstance(last, Result):
        raise SystemExit(f"the engine failed: {last.line()}")
    return {e.stage: e.seconds for e in events if isinstance(e, StageFinished)}, last


if __name__ == "__main__":
    typer.run(growth)
