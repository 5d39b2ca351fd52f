"""Perplexity of every method at the same number of parameters, on two trained models.

`python -m benchmarks.quality` prunes each model with each method at each ratio, through the
engine's public entry, with the same calibration windows, and measures on text that neither
training nor calibration saw. Parameter counts must agree within 0.2% of the dense model.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import torch
import typer
from rich.console import Console

from benchmarks import results
from slimgpt.events import Result
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import CalibrationSpec, EvaluationSpec, Method, PruneSpec

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
RATIOS = (0.2, 0.3, 0.5)
TOLERANCE = 0.002  # of the dense parameters
console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Subject:
    """A model with text to calibrate and to measure on."""

    model: str
    calibration: str
    evaluation: str
    roots: Roots

    def spec(self, method: Method, ratio: float, samples: int, seed: int) -> PruneSpec:
        """One job on this model."""
        return PruneSpec(
            model=f"local:{self.model}",
            ratio=ratio,
            method=method,
            calibration=CalibrationSpec(
                source=f"local:{self.calibration}",
                samples=samples,
                sequence_length=256,
                seed=seed,
                bos="none",
            ),
            evaluation=EvaluationSpec(
                texts=(self.evaluation,), sequence_lengths=(128,), max_tokens=32_768, bos="none"
            ),
        )


SUBJECTS = (
    Subject(
        "model",
        "calibration.jsonl",
        "local:evaluation.jsonl",
        Roots(ROOT / "examples", ROOT / "examples" / "model" / "texts"),
    ),
    Subject(
        "stories260K",
        "tinystories/stories-1MiB.txt",
        "held-out",
        Roots(SHARED / "models", SHARED / "data"),
    ),
)


def quality(
    model: Annotated[str | None, typer.Option(help="Measure this one only.")] = None,
    samples: Annotated[int, typer.Option(help="Calibration windows of 256 tokens.")] = 128,
    seed: Annotated[int, typer.Option(help="Seed of the calibration windows.")] = 0,
) -> None:
    """Measure all methods and write benchmarks/results/quality-MODEL.md and .json."""
    torch.set_num_threads(1)
    settings = {"windows": samples, "window tokens": 256, "seed": seed, "perplexity window": 128}
    for subject in subjects(model):
        rows = []
        for row in measure(subject, samples, seed):
            console.print("  ".join(str(value) for value in row.values()))
            rows.append(row)
            path = results.write(f"quality-{subject.model}", settings, rows)  # as far as it got
        console.print(f"written: {path}")


def subjects(model: str | None) -> Iterator[Subject]:
    """The models that are measured, one if it is named, and that are here."""
    for subject in SUBJECTS:
        if model not in (None, subject.model):
            continue
        if (subject.roots.models / subject.model).is_dir():
            yield subject
        else:
            console.print(f"{subject.model}: left out, {subject.roots.models} does not hold it")


def measure(subject: Subject, samples: int, seed: int) -> Iterator[dict[str, Any]]:
    """One row a method and ratio.

    Raises:
        ValueError: the methods do not leave the same number of parameters.
    """
    for ratio in RATIOS:
        sizes = []
        for method in get_args(Method):
            result = _prune(subject, subject.spec(method, ratio, samples, seed))
            [measured] = result.perplexity
            sizes.append(result.parameters_after)
            yield {
                "ratio": ratio,
                "method": method,
                "parameters": result.parameters_after,
                "dense": measured["dense"],
                "pruned": measured["pruned"],
                "change": f"{measured['pruned'] / measured['dense'] - 1:+.1%}",
            }
        if max(sizes) - min(sizes) > TOLERANCE * result.parameters_before:
            raise ValueError(f"{subject.model} at {ratio}: the methods left {sizes} parameters")


def _prune(subject: Subject, spec: PruneSpec) -> Result:
    from slimgpt.pipeline import run

    with tempfile.TemporaryDirectory() as folder:
        events = run(spec, Path(folder) / "work", subject.roots, "cpu", resume=False)
        [result] = [event for event in events if isinstance(event, Result)]
    return result


if __name__ == "__main__":
    typer.run(quality)
