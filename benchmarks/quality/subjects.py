"""The models that are measured, each with text to calibrate on and text held out.

The engine reads files of a folder, so public texts are split by document into a folder of the
cache: every fourth document of C4 and of TinyStories is held out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.models import HERE, SHARED, obtain
from slimgpt.errors import ModelNotFoundError
from slimgpt.machine import disk
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import CalibrationSpec, EvaluationSpec, HeadUnit, PruneSpec
from slimgpt.texts import local

CACHE = Path("~/.cache/slimgpt/quality").expanduser()
SMALL = ("model", "stories260K")
"""What is measured where no model is named: it takes minutes."""
WINDOW = 256  # tokens, of calibration and of evaluation
HELD_OUT = 4  # of so many documents one
C4 = SHARED / "data/c4/c4-en-1300.jsonl"
STORIES = SHARED / "data/tinystories/stories-1MiB.txt"
WIKITEXT = SHARED / "data/wikitext2/wiki.test.raw"


@dataclass(frozen=True)
class Subject:
    """A model with text to calibrate and to measure on.

    Attributes:
        model: its name on the command line and in the results.
        folder: its checkpoint.
        texts: the folder in which its texts lie.
        calibration: a file there.
        held_out: further files there, by the names of their columns; nothing is tuned to them.
        head_unit: what of attention leaves together.
    """

    model: str
    folder: Path
    texts: Path
    calibration: str
    held_out: Mapping[str, str]
    head_unit: HeadUnit = "kv_group"

    @property
    def roots(self) -> Roots:
        """Where the engine finds model and texts."""
        return Roots(self.folder.parent, self.texts, confined=False)

    def spec(self, method: str, ratio: float, samples: int, seed: int, **more: Any) -> PruneSpec:
        """One job on this model, measured on the first of its held-out texts.

        Args:
            samples: calibration windows of 256 tokens.
            seed: of their choice.
            more: fields of `PruneSpec`.
        """
        wanted: dict[str, Any] = {
            "model": f"local:{self.folder.name}",
            "ratio": ratio,
            "method": method,
            "head_unit": self.head_unit,
            "calibration": CalibrationSpec(
                source=f"local:{self.calibration}",
                samples=samples,
                sequence_length=WINDOW,
                seed=seed,
            ),
            "evaluation": EvaluationSpec(
                texts=(f"local:{next(iter(self.held_out.values()))}",), max_tokens=32_768
            ),
        }
        return PruneSpec.model_validate(wanted | more)


def subjects(model: str | None) -> Iterator[Subject]:
    """The models that are measured: one if it is named, else the small ones that are here.

    Args:
        model: a name of `benchmarks.models`, or a hub id.

    Raises:
        SlimGPTError: the model named cannot be had; `benchmarks.models.obtain`.
    """
    if model is not None:
        yield subject(model)
        return
    for name in SMALL:
        if HERE[name].is_dir():
            yield subject(name)


def subject(name: str) -> Subject:
    """A model by its name, made first where it is not there.

    Raises:
        SlimGPTError: it cannot be had, or the texts for it are not there.
    """
    folder = obtain(name)
    if name == "model":
        files = "calibration.jsonl", {"held-out": "evaluation.jsonl"}
        return Subject(name, folder, folder / "texts", *files)
    texts = CACHE / "texts"
    if name == "stories260K":
        calibration, held_out = split(STORIES, texts)
        return Subject(name, folder, texts, calibration, {"TinyStories": held_out})
    calibration, held_out = split(C4, texts)
    wikitext = "wikitext2-test.txt"
    disk.write_text(texts / wikitext, local.whole(_there(WIKITEXT), "WikiText-2"))
    columns = {"WikiText-2": wikitext, "C4": held_out}
    title = name.rpartition("/")[2]
    return Subject(title, folder, texts, calibration, columns, _head_unit(folder))


def split(source: Path, folder: Path) -> tuple[str, str]:
    """Part a text by document into two files of a folder: for calibration, and held out.

    Returns:
        their names.

    Raises:
        ModelNotFoundError: the text is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    documents = local.read(_there(source), source.name, None)
    lines = [json.dumps({"text": text}) + "\n" for text in documents]
    held_out = lines[HELD_OUT - 1 :: HELD_OUT]
    del lines[HELD_OUT - 1 :: HELD_OUT]
    names = f"{source.stem}-calibration.jsonl", f"{source.stem}-held-out.jsonl"
    for name, part in zip(names, (lines, held_out), strict=True):
        disk.write_text(folder / name, "".join(part))
    return names


def _there(source: Path) -> Path:
    if not source.is_file():
        raise ModelNotFoundError(
            f"the text {source.name} is not there: {source} does not exist",
            hint="it comes with the folder `shared` beside the checkout (BENCHMARK_SHARED)",
        )
    return source


def _head_unit(folder: Path) -> HeadUnit:
    """Single query heads where all share one KV head: without it no attention could be pruned."""
    config = json.loads((folder / "config.json").read_bytes())
    return "query_head" if config.get("num_key_value_heads") == 1 else "kv_group"
