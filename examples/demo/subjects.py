"""`Subject`: a model that a demonstration prunes, with its texts and what it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent
SHARED = EXAMPLES.parent.parent / "shared"
"""Public texts that may lie beside the checkout."""
C4 = "c4/c4-en-1300.jsonl"


@dataclass(frozen=True)
class Subject:
    """A model and how it is pruned.

    Attributes:
        folder: of the dense model; makes it first where it is not there.
        texts: root of local texts.
        ratio: of the parameters that are removed.
        calibration, evaluation: texts, as a job names them.
        prompts: that the models continue.
        sampled: with the same luck; else greedily.
        minutes: of recovery by distillation; 0: none.
        gguf: whether GGUF files are made and timed.
    """

    folder: Callable[[], Path]
    texts: Path
    ratio: float
    calibration: str
    evaluation: str
    prompts: tuple[str, ...]
    sampled: bool = True
    minutes: float = 0.0
    gguf: bool = False


def bundled() -> Subject:
    """The small model that ships with the project: a minute."""
    folder = EXAMPLES / "model"
    return Subject(
        folder=lambda: folder,
        texts=folder / "texts",
        ratio=0.3,
        calibration="local:calibration.jsonl",
        evaluation="local:evaluation.jsonl",
        prompts=("    def __init__(self, ", "# The name of the", "    if not isinstance("),
    )


def real(name: str) -> Subject:
    """A trained model of `benchmarks.models`, by its name there.

    Its C4 is the one beside the checkout, if there is one, else the hub's.
    """

    def folder() -> Path:
        from benchmarks.models import obtain

        return obtain(name)

    here = (SHARED / "data" / C4).is_file()
    return Subject(
        folder=folder,
        texts=SHARED / "data" if here else EXAMPLES,
        ratio=0.2,
        calibration=f"local:{C4}" if here else "c4",
        evaluation="held-out",
        prompts=(
            "Photosynthesis is the process by which",
            "The three most important things to know about money are",
        ),
        sampled=False,
        minutes=5.0,
        gguf=True,
    )
