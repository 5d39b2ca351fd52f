"""Tasks in the `evaluate` stage: each model loaded whole, one after the other, scores cached.

tasks/MARK.json in the working folder contains the scores of one model on one task, from which an
interrupted evaluation resumes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from slimgpt.checkpoints.families.architecture import Architecture
from slimgpt.events import Event, ModelName, Progress, TaskScore, Warned
from slimgpt.harness import scores
from slimgpt.harness.harness_run import Answers, HarnessRun
from slimgpt.harness.harness_task import HarnessTask, Leaf
from slimgpt.harness.scores import Score
from slimgpt.machine import disk
from slimgpt.machine.ranks import Ranks

FOLDER = "tasks"


@dataclass(frozen=True)
class Candidate:
    """A model to evaluate.

    Attributes:
        name: dense, pruned or recovered.
        folder: as written by `checkpoints.output.whole_model`.
        fingerprint: identifies the model among all others.
    """

    name: ModelName
    folder: Path
    architecture: Architecture
    fingerprint: str


def evaluate(
    harness_tasks: Sequence[HarnessTask],
    candidates: Sequence[Candidate],
    workdir: Path,
    ranks: Ranks,
) -> Generator[Event, None, list[TaskScore]]:
    """Scores of all models on every task, with identical prompts.

    Args:
        candidates: dense and pruned, and recovered after a recovery.

    Raises:
        MemoryExhaustedError: a model and one question do not fit.
        StorageError: the disk is full.
    """
    found = {}
    total = len(candidates) * sum(len(harness_task.leaves) for harness_task in harness_tasks)
    for number, candidate in enumerate(candidates):
        before = number * total // len(candidates)
        asking = ask(harness_tasks, candidate, workdir / FOLDER, ranks, (before, total))
        found[candidate.name] = yield from asking
    results = [
        _joined(dict(zip(found, rows, strict=True))) for rows in zip(*found.values(), strict=True)
    ]
    yield from results
    return results


def ask(
    harness_tasks: Sequence[HarnessTask],
    candidate: Candidate,
    kept: Path,
    ranks: Ranks,
    steps: tuple[int, int],
) -> Generator[Event, None, list[Score]]:
    """Scores of one model on every task.

    Args:
        kept: folder of cached answers; the model is loaded only if one is missing.
        steps: number of tasks done before, and in total.

    Raises:
        MemoryExhaustedError, StorageError: as `evaluate`.
    """
    done, total = steps
    found: list[Score] = []
    with ExitStack() as room:
        harness_run: HarnessRun | None = None
        for harness_task in harness_tasks:
            task_answers = {}
            for leaf in harness_task.leaves:
                what = f"{leaf.name}, {candidate.name}"
                yield Progress(stage="evaluate", done=done, total=total, what=what)
                file = kept / f"{_digest(candidate, leaf)}.json"
                answers = _read(file)
                if answers is None:
                    if harness_run is None:
                        fresh = HarnessRun(candidate.folder, candidate.architecture, ranks)
                        harness_run = room.enter_context(fresh)
                    answers = harness_run.answer(leaf)
                    kept.mkdir(parents=True, exist_ok=True)
                    disk.write_text(file, json.dumps(asdict(answers)))
                task_answers[leaf.name] = answers
                done += 1
            cut = [name for name, answers in task_answers.items() if answers.cut]
            if cut and candidate.name == "dense":  # the prompts of the others are identical
                yield _too_long(harness_task, cut)
            found += scores.rows(
                harness_task, {name: one.metrics for name, one in task_answers.items()}
            )
    yield Progress(stage="evaluate", done=done, total=total)
    return found


def discard(workdir: Path) -> None:
    """Remove the cached answers."""
    shutil.rmtree(workdir / FOLDER, ignore_errors=True)


def _joined(rows: Mapping[ModelName, Score]) -> TaskScore:
    """Join the scores of all models in one row."""
    dense, pruned, recovered = rows["dense"], rows["pruned"], rows.get("recovered")
    return TaskScore(
        task=dense.task,
        metric=dense.metric,
        shots=dense.shots,
        samples=dense.samples,
        group=dense.group,
        sha256=dense.sha256,
        dense=dense.value,
        dense_error=dense.error,
        pruned=pruned.value,
        pruned_error=pruned.error,
        recovered=None if recovered is None else recovered.value,
        recovered_error=None if recovered is None else recovered.error,
    )


def _too_long(harness_task: HarnessTask, cut: Sequence[str]) -> Warned:
    within = (
        f" in {len(cut)} of its {len(harness_task.leaves)} tasks"
        if len(harness_task.leaves) > 1
        else ""
    )
    return Warned(
        message=f"task {harness_task.name}: some questions{within} are longer than the model's "
        "positions and lost their beginning"
    )


def _digest(candidate: Candidate, leaf: Leaf) -> str:
    return hashlib.sha256(f"{candidate.fingerprint} {leaf.sha256}".encode()).hexdigest()


def _read(file: Path) -> Answers | None:
    try:
        return Answers(**json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
