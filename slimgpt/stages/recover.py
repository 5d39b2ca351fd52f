"""The `recover` stage: trains adapters on the pruned layers and writes recovered layers to disk.

recovery-MARK/unrecovered/   the pruned checkpoint, whole, as transformers loads it
recovery-MARK/training/      snapshots of the trainer; an interrupted training resumes from them
recovery-MARK/adapters/      the adapters alone
recovery-MARK/layers/        the layers with the adapters merged
recovery-MARK/curves.json    written last: the stage is done
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from slimgpt.checkpoints.output import whole_model
from slimgpt.checkpoints.output.partial import PartialCheckpoint
from slimgpt.events import Event, Loss, Progress
from slimgpt.machine import disk
from slimgpt.planning.plan import Plan
from slimgpt.recovery import peft_model
from slimgpt.recovery.training_data import TrainingData
from slimgpt.spec.prune import PruneSpec, RecoverySpec
from slimgpt.stages.resolve import JobInputs
from slimgpt.texts.label_masking import IGNORED, Tokens

if TYPE_CHECKING:
    from slimgpt.recovery.training import Course

PREFIX = "recovery-"
TRAINER_STATE = "trainer_state.json"
MOST_WINDOWS = 32  # of the evaluation text, for the curve


@dataclass(frozen=True)
class Recovery:
    """A finished recovery.

    Attributes:
        partial: the recovered layers.
        folder: contains `unrecovered` and `adapters`.
        curves: losses of all steps, in order.
        trainable: number of parameters of the adapters.
        training_data: the rows that were trained on and the held-out rows.
    """

    partial: PartialCheckpoint
    folder: Path
    curves: list[Loss]
    trainable: int
    training_data: TrainingData


def recover(
    spec: PruneSpec,
    inputs: JobInputs,
    plan: Plan,
    partial: PartialCheckpoint,
    workdir: Path,
    device: torch.device,
) -> Generator[Event, None, Recovery]:
    """Train adapters on the pruned model and merge them.

    Args:
        partial: the pruned layers, all finished.
        workdir: folder in which the recovery's folder is created.

    Raises:
        NumericalError: a loss is not finite; the pruned layers stay.
        StorageError: the disk is full.
    """
    assert spec.recovery is not None
    assert inputs.training_data is not None
    fingerprint = _mark(partial.fingerprint, spec.recovery, inputs.training_data)
    folder = workdir / (PREFIX + fingerprint[:16])
    folder.mkdir(parents=True, exist_ok=True)
    architecture = inputs.checkpoint.architecture
    recovered = PartialCheckpoint(folder / "layers", fingerprint, architecture)
    curves = folder / "curves.json"
    if not curves.exists():
        yield Progress(stage="recover", done=0, total=1, what="loading the pruned model")
        whole_model.place(partial, inputs.checkpoint, plan.after, folder / peft_model.BASE)
        model, content = yield from _trained(spec.recovery, inputs, folder, device)
        records = partial.finished()
        family, count = architecture.family, architecture.layers
        for index, tensors in enumerate(peft_model.merged_layers(model, family, count)):
            recovered.write_layer(index, tensors, records[index])
        disk.write_text(curves, json.dumps(content, allow_nan=False))
    content = json.loads(curves.read_bytes())
    points = [Loss.model_validate(point) for point in content["points"]]
    return Recovery(recovered, folder, points, content["trainable"], inputs.training_data)


def discard(workdir: Path) -> None:
    """Remove the folders of all recoveries in the working folder."""
    for folder in workdir.glob(f"{PREFIX}*"):
        shutil.rmtree(folder)


def _mark(job: str, recovery: RecoverySpec, training_data: TrainingData) -> str:
    content = {
        "job": job,
        "recovery": recovery.model_dump(mode="json", exclude={"publish"}),
        "material": training_data.sha256,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _trained(
    recovery: RecoverySpec, inputs: JobInputs, folder: Path, device: torch.device
) -> Generator[Event, None, tuple[Any, dict[str, Any]]]:
    """Train and save the adapters; returns the model with them, and the content of curves.json."""
    from slimgpt.recovery import training  # transformers' trainer takes seconds to import

    architecture = inputs.checkpoint.architecture
    family, dtype = architecture.family, architecture.dtype
    base = whole_model.load(folder / peft_model.BASE, family, dtype, device)
    if device.type == "cuda":
        peft_model.spare_memory(base)
    model = peft_model.with_adapters(base, recovery, family)
    teacher = None
    if recovery.method == "distillation":
        dense = inputs.teacher or inputs.checkpoint
        mirror, theirs = whole_model.mirror(dense, folder / "dense"), dense.architecture
        teacher = whole_model.load(mirror, theirs.family, theirs.dtype, device)
    course = _course(inputs)
    snapshots = folder / "training"
    trainer = training.Teaching(
        model=model,
        args=training.arguments(recovery, course, snapshots, device),
        train_dataset=course.learned,
        eval_dataset=course.evaluation_sets or None,
        data_collator=course.collate,
        teacher=teacher,
        temperature=recovery.temperature,
    )
    points = yield from training.train(trainer, _usable(snapshots))
    peft_model.save_adapters(model, folder / peft_model.ADAPTERS)
    return model, {
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "points": [point.model_dump(exclude={"type"}) for point in points],
    }


def _course(inputs: JobInputs) -> Course:
    from slimgpt.recovery import training

    assert inputs.training_data is not None
    evaluation_sets = {training.LESSONS: inputs.training_data.held_out}
    if inputs.evaluation_sets:
        first = inputs.evaluation_sets[0]
        unread = [IGNORED] * first.begin.given
        evaluation_sets[training.TEXT] = [
            Tokens(window, unread + window[first.begin.given :])
            for window in first.windows[:MOST_WINDOWS].tolist()
        ]
    kept = {name: sequences for name, sequences in evaluation_sets.items() if sequences}
    return training.Course(inputs.training_data.learned, kept, pad=inputs.end_token or 0)


def _usable(snapshots: Path) -> bool:
    """Whether there is a complete snapshot; removes those without a trainer state."""
    whole = False
    for snapshot in snapshots.glob("checkpoint-*"):
        try:
            json.loads((snapshot / TRAINER_STATE).read_bytes())
            whole = True
        except (OSError, ValueError):
            shutil.rmtree(snapshot)
    return whole
