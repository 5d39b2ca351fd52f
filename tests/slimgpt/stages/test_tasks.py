"""Jobs with tasks: every model is asked, once, and the report says what they scored."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from slimgpt.errors import CalibrationError
from slimgpt.events import Event, LayerFinished, Result, TaskScore
from slimgpt.harness.harness_run import HarnessRun
from slimgpt.pipeline import run
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import PruneSpec
from tests.slimgpt.harness.conftest import write
from tests.slimgpt.tiny import Tiny

PIQA = {"goal": "Open it.", "sol1": "Pull the lever.", "sol2": "Push.", "label": 0}
TEXT = "\n\n".join(f"{n} bottles of beer on the wall, {n} bottles of beer." for n in range(300))


def spec(**changes: Any) -> PruneSpec:
    settings: dict[str, Any] = {
        "model": "local:model",
        "ratio": 0.2,
        "calibration": {"source": "local:text.txt", "samples": 8, "sequence_length": 32},
        "recovery": {"source": "local:text.txt", "samples": 8, "sequence_length": 32},
        "evaluation": {
            "texts": [],
            "tasks": ["piqa", {"name": "boolq", "limit": 2}],
            "tasks_source": "local:q",
        },
    }
    return PruneSpec.model_validate(settings | changes)


@pytest.fixture
def ready(roots: Roots) -> Roots:
    Tiny(tokenizer=True).save(roots.models / "model")
    (roots.texts / "text.txt").write_text(TEXT)
    write(roots.texts / "q/piqa.jsonl", [{**PIQA, "label": n % 2} for n in range(6)])
    boolq = {"question": "is it", "passage": "It is.", "label": 1}
    write(roots.texts / "q/boolq_val.jsonl", [boolq] * 4)
    return roots


def test_all_models_are_asked_and_an_interrupted_evaluation_goes_on(
    ready: Roots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = HarnessRun.answer
    asked: list[str] = []

    def counted(self: HarnessRun, leaf: Any) -> Any:
        if len(asked) == 4:
            asked.append("cut")
            raise KeyboardInterrupt
        asked.append(leaf.name)
        return answer(self, leaf)

    monkeypatch.setattr(HarnessRun, "answer", counted)
    with pytest.raises(KeyboardInterrupt):
        list(run(spec(), tmp_path / "work", ready, "cpu"))
    assert asked == ["piqa", "boolq", "piqa", "boolq", "cut"]
    events: list[Event] = list(run(spec(), tmp_path / "work", ready, "cpu", resume=True))
    assert asked[5:] == ["piqa", "boolq"]  # of the recovered model alone
    rows = [event for event in events if isinstance(event, TaskScore)]
    assert [(row.task, row.metric, row.samples) for row in rows] == [
        ("piqa", "acc", 6),
        ("piqa", "acc_norm", 6),
        ("boolq", "acc", 2),
    ]
    assert all(row.recovered is not None and row.recovered_error is not None for row in rows)
    result = events[-1]
    assert isinstance(result, Result)
    assert result.tasks == [row.model_dump() for row in rows]
    report = json.loads((tmp_path / "work/checkpoint/report.json").read_text())
    assert report["tasks"] == [row.model_dump(exclude={"type", "point"}) for row in rows]
    assert not (tmp_path / "work/tasks").exists()
    assert not (tmp_path / "work/whole").exists()


def test_questions_that_are_missing_stop_a_job_before_it_prunes(
    ready: Roots, tmp_path: Path
) -> None:
    shutil.rmtree(ready.texts / "q")
    told: list[Event] = []
    with pytest.raises(CalibrationError, match="no such folder"):
        told.extend(run(spec(), tmp_path / "work", ready, "cpu"))
    assert not any(isinstance(event, LayerFinished) for event in told)
    assert not (tmp_path / "work/layers").exists()
