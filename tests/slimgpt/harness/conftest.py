"""Questions in the columns of the hub's data sets, and models that answer them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.output import whole_model
from slimgpt.harness.harness_task import prepare
from slimgpt.harness.scores import Score
from slimgpt.machine.ranks import Ranks
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import EvaluationSpec
from slimgpt.stages.tasks import Candidate, ask

Rows = Sequence[Mapping[str, Any]]
Scored = Callable[..., dict[tuple[str, str], Score]]
CPU = torch.device("cpu")


def write(file: Path, rows: Rows) -> Path:
    """Rows as JSON lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def scored(roots: Roots, tmp_path: Path) -> Scored:
    """Ask a model what an evaluation says, on one device by default; rows by task and metric."""

    def run(
        model: Path, evaluation: Mapping[str, Any], ranks: Ranks | None = None
    ) -> dict[tuple[str, str], Score]:
        ranks = ranks or Ranks(CPU)
        harness_tasks = prepare(EvaluationSpec.model_validate({"texts": [], **evaluation}), roots)
        checkpoint = Checkpoint.open(model)
        folder = whole_model.mirror(checkpoint, tmp_path / "mirror")
        candidate = Candidate("dense", folder, checkpoint.architecture, f"{model} {ranks.size}")
        steps = (0, sum(len(harness_task.leaves) for harness_task in harness_tasks))
        asking = ask(harness_tasks, candidate, tmp_path / "kept", ranks, steps)
        while True:
            try:
                next(asking)
            except StopIteration as end:
                return {(row.task, row.metric): row for row in end.value}

    return run
