"""`python -m benchmarks.cost`: operations of a job, their time at best, and the engine's.

Models are named as in examples/configs or `benchmarks.models`, or by their folders; a folder needs
its `config.json` alone. With `--run` the engine prunes a packaged model on this machine.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from benchmarks import results
from benchmarks.cost import engine, operations, speeds
from benchmarks.cost.operations import Job, Step
from benchmarks.cost.speeds import STATED, Speeds
from benchmarks.quality.subjects import subject
from slimgpt.checkpoints.families import architecture
from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.layers.inputs_cache import CACHED_INPUTS
from slimgpt.planning.preview import plan_preview
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import EvaluationSpec, HeadUnit, PruneSpec
from slimgpt.spec.recipe import Recipe

CONFIGS = Path(__file__).resolve().parents[2] / "examples/configs"
UNITS: dict[str, HeadUnit] = {"paper": "kv_group", "measured": "mixed"}
console = Console(highlight=False, soft_wrap=True)
Row = dict[str, Any]


def cost(
    models: Annotated[list[str], typer.Argument(help="Configs, packaged models or folders.")],
    ratio: Annotated[list[float] | None, typer.Option(help="Repeatable; unset: 0.2, 0.5.")] = None,
    samples: Annotated[int, typer.Option(help="Calibration sequences.")] = 256,
    tokens: Annotated[int, typer.Option(help="Tokens of each.")] = 2048,
    run: Annotated[bool, typer.Option(help="Also prune, and say the engine's time.")] = False,
) -> None:
    """Write benchmarks/results/cost-MODEL.md and .json for each model."""
    for model in models:
        rows = [
            row
            for share in ratio or (0.2, 0.5)
            for recipe in ("paper", "measured")
            for row in rows_of(model, share, recipe, samples, tokens, run=run)
        ]
        settings = {"samples": samples, "tokens": tokens, "threads": torch.get_num_threads()}
        path = results.write(f"cost-{Path(model).name}", settings, rows)
        console.print(results.table(rows), f"\nwritten: {path}")


def rows_of(
    model: str, ratio: float, recipe: Recipe, samples: int, tokens: int, *, run: bool
) -> list[Row]:
    """One row a step of each stage; `run` adds the engine's own seconds."""
    known = next((one for one in (CONFIGS / model, Path(model)) if one.is_dir()), None)
    bench = None if known else subject(model)
    folder = bench.folder if bench else known
    assert folder is not None, "one of the two is there"
    job = _job(folder, ratio, samples, tokens)
    here = speeds.measured(folder)
    took: dict[str, dict[str, float]] = {}
    if run:
        if bench is None:
            raise typer.BadParameter("--run needs a packaged model", param_hint="MODELS")
        evaluated = {"evaluation": EvaluationSpec(texts=())}
        calibration = {"samples": samples, "sequence_length": tokens}
        spec = bench.spec("slimgpt", ratio, samples, 0, recipe=recipe, head_unit=UNITS[recipe])
        spec = spec.model_copy(
            update=evaluated | {"calibration": spec.calibration.model_copy(update=calibration)}
        )
        took = engine.seconds(spec, bench.roots)
    counted_here = operations.of(_as_on_cpu(job), recipe)
    return [
        row
        for stage, counted in operations.of(job, recipe).items()
        if counted
        for row in _stage(
            ratio, recipe, stage, (counted_here[stage], here), counted, took.get(stage, {})
        )
    ]


def _as_on_cpu(job: Job) -> Job:
    """The same job, its layers advanced from kept inputs where these are few."""
    widest = max(size.channels for size in job.architecture.sizes)
    return replace(job, cached=job.tokens * widest * operations.WIDTH <= CACHED_INPUTS)


def _job(folder: Path, ratio: float, samples: int, tokens: int) -> Job:
    """Sizes are those of the paper's schedule: the measured ones are known after a pass only."""
    spec = PruneSpec(model=f"local:{folder.name}", ratio=ratio, recipe="paper")
    plan = plan_preview(spec, Roots(folder.parent, folder.parent))
    config = json.loads((folder / "config.json").read_bytes())
    after = tuple(LayerSize(one.heads, one.kv_heads, one.channels) for one in plan.layers)
    return Job(architecture.read(config), config, after, samples, tokens)


def _stage(
    ratio: float,
    recipe: Recipe,
    stage: str,
    here: tuple[dict[Step, float], Speeds],
    counted: dict[Step, float],
    took: dict[str, float],
) -> Iterator[Row]:
    machines = {"here": here, **{name: (counted, machine) for name, machine in STATED.items()}}
    floors = {name: defaultdict[str, float](float) for name in machines}
    for name, (amounts_there, machine) in machines.items():
        for (step, kind), amount in amounts_there.items():
            floors[name][step] += amount / machine[kind]
    for step in dict.fromkeys([*floors["here"], *took, "all"]):
        amounts = [(kind, n) for (one, kind), n in counted.items() if step in (one, "all")]
        floor = {
            name: sum(one.values()) if step == "all" else one[step] for name, one in floors.items()
        }
        seconds = sum(took.values()) if step == "all" else took.get(step, 0.0)
        yield {
            "ratio": ratio,
            "recipe": recipe,
            "stage": stage,
            "step": step,
            "10^12 operations": sum(n for kind, n in amounts if kind != "disk") / 1e12,
            "GB": sum(n for kind, n in amounts if kind == "disk") / 1e9,
            "floor here, s": floor["here"],
            "engine here, s": seconds if took else "",
            "engine / floor": seconds / floor["here"] if took and floor["here"] else "",
            **{f"floor {name}, s": floor[name] for name in STATED},
        }


if __name__ == "__main__":
    typer.run(cost)
