"""The `recover` stage: trains the pruned layers, or adapters on them, and writes recovered layers.

recovery-MARK/unrecovered/     the pruned checkpoint, whole, as transformers loads it
recovery-MARK/decision.json    steps, batch and learning rate, decided once
recovery-MARK/training/        snapshots; an interrupted training resumes from the newest
recovery-MARK/adapters/        the adapters alone, if adapters are trained
recovery-MARK/layers/          the recovered layers
recovery-MARK/curves.json      written last: the stage is done
recovery-teacher-MARK/         the teacher's distributions, shared by all models of a sweep
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from slimgpt.checkpoints.output import fingerprint
from slimgpt.checkpoints.output import whole_model as whole
from slimgpt.checkpoints.output.partial import PartialCheckpoint
from slimgpt.events import Event, Loss, Progress, Warned
from slimgpt.layers.stack import Stack
from slimgpt.machine import disk, precision
from slimgpt.planning.plan import Plan
from slimgpt.recovery import peft_model
from slimgpt.recovery.batches import EVALUATION_TEXT, HELD_OUT_ROWS, Batches, first, in_seeded_order
from slimgpt.recovery.decision import Decision
from slimgpt.recovery.session import Session, Teacher
from slimgpt.recovery.student import ForwardModel, Student
from slimgpt.recovery.teacher import TeacherCache
from slimgpt.recovery.training_data import TrainingData
from slimgpt.spec.prune import PruneSpec, RecoverySpec
from slimgpt.stages.resolve import JobInputs
from slimgpt.texts.label_masking import IGNORED, Tokens

PREFIX = "recovery-"
TEACHER = f"{PREFIX}teacher-"
MOST_WINDOWS = 32  # of the evaluation text, for the loss curve


@dataclass(frozen=True)
class Recovery:
    """A finished recovery.

    Attributes:
        partial: the recovered layers.
        folder: contains `unrecovered` and `adapters`.
        curves: the losses, from the first step to the last.
        trainable: number of trained parameters.
        training_data: the tokenised rows.
        decision: steps, batch and learning rate.
        seconds: duration of the attempt that finished, from the first step's preparation on.
        teacher_bytes: size of the teacher's distributions on disk.
    """

    partial: PartialCheckpoint
    folder: Path
    curves: list[Loss]
    trainable: int
    training_data: TrainingData
    decision: Decision
    seconds: float
    teacher_bytes: int


def recover(
    spec: PruneSpec,
    inputs: JobInputs,
    plan: Plan,
    pruned: PartialCheckpoint,
    workdir: Path,
    device: torch.device,
) -> Generator[Event, None, Recovery]:
    """Train the pruned model.

    Args:
        pruned: the layers, all finished.
        workdir: folder in which the recovery's folder is created.

    Raises:
        NumericalError: a loss is not finite; the pruned layers stay.
        StorageError: the disk is full.
    """
    assert spec.recovery is not None
    assert inputs.training_data is not None
    fingerprint = _mark(pruned.fingerprint, spec.recovery, inputs.training_data)
    folder = workdir / (PREFIX + fingerprint[:16])
    folder.mkdir(parents=True, exist_ok=True)
    architecture = inputs.checkpoint.architecture
    recovered = PartialCheckpoint(folder / "layers", fingerprint, architecture)
    curves = folder / "curves.json"
    if spec.devices > 1:
        yield Warned(message="recovery: trained on the first device alone")
    if not curves.exists():
        yield Progress(stage="recover", done=0, total=1, what="loading the pruned model")
        whole.place(pruned, inputs.checkpoint, plan.after, folder / peft_model.BASE)
        model, content = yield from _trained(spec.recovery, inputs, folder, device)
        records = pruned.finished()
        for index, tensors in enumerate(peft_model.merged_layers(model, architecture)):
            recovered.write_layer(index, tensors, records[index])
        disk.write_text(curves, json.dumps(content, allow_nan=False))
    content = json.loads(curves.read_bytes())
    points = [Loss.model_validate(point) for point in content["points"]]
    return Recovery(
        recovered,
        folder,
        points,
        content["trainable"],
        inputs.training_data,
        Decision.model_validate(content["decision"]),
        content["seconds"],
        content["teacher_bytes"],
    )


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
    """Train; returns the model and the content of `curves.json`. Adapters are written to disk.

    The time limit starts here.
    """
    began = time.monotonic()
    batches = _batches_of(inputs, recovery.seed)
    models = _Models(recovery, inputs, folder, device)
    teacher = models.teacher(batches) if recovery.method == "distillation" else None
    session = Session(recovery, batches, models.student, teacher, folder, device, began)
    student, decision, points = yield from session.run()
    if recovery.weights == "adapters":
        peft_model.save_adapters(student.learning, folder / peft_model.ADAPTERS)
    return student.learning, {
        "trainable": sum(weight.numel() for weight in student.weights().values()),
        "points": [point.model_dump(exclude={"type", "point"}) for point in points],
        "decision": decision.model_dump(mode="json"),
        "seconds": time.monotonic() - began,
        "teacher_bytes": 0 if teacher is None else teacher.cache.bytes(),
    }


@dataclass(frozen=True)
class _Models:
    """Loads student and teacher."""

    recovery: RecoverySpec
    inputs: JobInputs
    folder: Path
    device: torch.device

    def student(self) -> Student:
        """The pruned model in its initial state."""
        checkpoint, device = self.inputs.checkpoint, self.device
        family, dtype = checkpoint.architecture.family, checkpoint.architecture.dtype
        model = whole.load(self.folder / peft_model.BASE, family, dtype, device)
        if device.type == "cuda":
            peft_model.enable_activation_checkpointing(model)
        if self.recovery.weights == "adapters":
            learning = peft_model.with_adapters(model, self.recovery, family)
        else:
            learning = peft_model.with_layers(model, family)
        products = partial(precision.training_products, device, dtype)
        return Student(model, family, Stack(checkpoint, device).head(), products, learning)

    def teacher(self, batches: Batches) -> Teacher:
        """The dense model, or the one that the specification names."""
        dense, recovery = self.inputs.teacher or self.inputs.checkpoint, self.recovery
        mark = {
            "teacher": fingerprint.of_weights(dense),
            "sequences": self.inputs.training_data.sha256 if self.inputs.training_data else "",
            "spec": [recovery.seed, recovery.top_k, recovery.temperature],
        }
        name = TEACHER + hashlib.sha256(json.dumps(mark).encode()).hexdigest()[:16]
        place = self.folder.with_name(name)
        cache = TeacherCache(place, batches, recovery.top_k, recovery.temperature)

        def load() -> ForwardModel:
            family, dtype = dense.architecture.family, dense.architecture.dtype
            folder = whole.mirror(dense, self.folder / "dense")
            model = whole.load(folder, family, dtype, self.device)
            products = partial(precision.training_products, self.device, dtype)
            return ForwardModel(model, family, Stack(dense, self.device).head(), products)

        return Teacher(load, cache)


def _batches_of(inputs: JobInputs, seed: int) -> Batches:
    assert inputs.training_data is not None
    held_out = {HELD_OUT_ROWS: inputs.training_data.held_out}
    if inputs.evaluation_sets:
        one = inputs.evaluation_sets[0]
        unread = [IGNORED] * one.begin.given
        held_out[EVALUATION_TEXT] = [
            Tokens(window, unread + window[one.begin.given :])
            for window in one.windows[:MOST_WINDOWS].tolist()
        ]
    kept = {name: first(sequences) for name, sequences in held_out.items() if sequences}
    sequences = in_seeded_order(inputs.training_data.training, seed)
    return Batches(sequences, kept, pad=inputs.end_token or 0, seed=seed)
