"""What is refused before any model is pruned, and with which words."""

from __future__ import annotations

import sys
from typing import Any

import datasets
import huggingface_hub
import pytest

from slimgpt.errors import CalibrationError, HubUnreachableError, SlimGPTError, SpecError
from slimgpt.harness import catalogue
from slimgpt.harness.harness_task import HarnessTask, prepare
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import EvaluationSpec
from tests.slimgpt.harness.conftest import write

PIQA = {"goal": "Open it.", "sol1": "Pull.", "sol2": "Push.", "label": 0}


def asked(roots: Roots, *tasks: Any, **fields: Any) -> tuple[HarnessTask, ...]:
    return prepare(EvaluationSpec.model_validate({"tasks": tasks, **fields}), roots)


def refused(kind: type[SlimGPTError], roots: Roots, *tasks: Any, **fields: Any) -> str:
    with pytest.raises(kind) as caught:
        asked(roots, *tasks, **fields)
    return str(caught.value)


def test_an_unknown_task_is_refused_with_names_like_it(roots: Roots) -> None:
    said = refused(SpecError, roots, "arc_eazy")
    assert "'arc_eazy'" in said
    assert "did you mean arc_easy" in said


def test_without_the_harness_it_is_said_how_to_install_it(
    roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, catalogue.PACKAGE, None)  # what Python makes of its absence
    assert "pip install 'slimgpt-service[tasks]'" in refused(SpecError, roots, "piqa")


def test_without_network_the_hub_s_data_is_refused_and_files_are_proposed(
    roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Other tests of this process may have a hub of this machine's own.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    said = refused(HubUnreachableError, roots, "piqa")
    assert "task piqa" in said
    assert "tasks_source" in said


def test_a_column_that_is_missing_is_named(roots: Roots) -> None:
    rows = [{name: value for name, value in PIQA.items() if name != "sol2"}]
    write(roots.texts / "piqa.jsonl", rows)
    task = {"name": "piqa", "source": "local:piqa.jsonl"}
    said = refused(CalibrationError, roots, task)
    assert "no field sol2; the fields are: goal, label, sol1" in said


def test_a_row_unlike_the_first_is_named(roots: Roots) -> None:
    write(roots.texts / "piqa.jsonl", [PIQA, {**PIQA, "note": "x"}])
    task = {"name": "piqa", "source": "local:piqa.jsonl"}
    assert "row 2 has other fields than the first row: note" in refused(
        CalibrationError, roots, task
    )


def test_an_answer_that_is_no_choice_is_named(roots: Roots) -> None:
    write(roots.texts / "piqa.jsonl", [PIQA, {**PIQA, "label": 2}])
    task = {"name": "piqa", "source": "local:piqa.jsonl"}
    assert "row 2: IndexError" in refused(CalibrationError, roots, task)
    (harness_task,) = asked(roots, {**task, "limit": 1})  # a row that is not asked does no harm
    assert harness_task.leaves[0].limit == 1


def test_shots_need_rows_that_are_not_asked(roots: Roots) -> None:
    write(roots.texts / "q/piqa.jsonl", [PIQA])
    task = {"name": "piqa", "shots": 1}
    assert "piqa_train.jsonl" in refused(CalibrationError, roots, task, tasks_source="local:q")
    write(roots.texts / "q/piqa_train.jsonl", [PIQA])
    (harness_task,) = asked(roots, task, tasks_source="local:q")
    assert harness_task.leaves[0].shots == 1


def test_a_folder_or_file_that_is_missing_is_named(roots: Roots) -> None:
    assert "there is no such folder" in refused(
        CalibrationError, roots, "piqa", tasks_source="local:absent"
    )
    (roots.texts / "q").mkdir()
    said = refused(CalibrationError, roots, "piqa", tasks_source="local:q")
    assert "local:q has no file for it" in said
    task = {"name": "piqa", "source": "local:absent.jsonl"}
    assert "there is no such file" in refused(CalibrationError, roots, task)


def test_code_that_a_model_writes_is_not_run(roots: Roots) -> None:
    assert "runs model-generated code" in refused(SpecError, roots, "humaneval")


def test_the_rows_that_are_asked_are_part_of_what_scores_are_kept_by(roots: Roots) -> None:
    task = {"name": "piqa", "source": "local:piqa.jsonl"}
    marks = set()
    for label, limit in ((0, None), (1, None), (1, 1)):
        write(roots.texts / "piqa.jsonl", [{**PIQA, "label": label}])
        (harness_task,) = asked(roots, {**task, "limit": limit})
        marks.add(harness_task.leaves[0].sha256)
    assert len(marks) == 3


def test_every_name_of_the_paper_is_a_task_of_the_harness() -> None:
    assert catalogue.find("commonsense").tasks == tuple(catalogue.COMMONSENSE)
    mmlu = catalogue.find("mmlu")
    assert (len(mmlu.tasks), mmlu.group is not None and len(mmlu.group.members)) == (57, 4)
    longbench = catalogue.find("longbench")
    assert longbench.group is not None
    assert "longbench_hotpotqa" in longbench.tasks
