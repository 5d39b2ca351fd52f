"""LoRA training with transformers' `Trainer`, on a thread, reported as events."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from slimgpt.errors import NumericalError, SlimGPTError
from slimgpt.events import Event, Loss, Progress
from slimgpt.planning.forecast import BATCH_TOKENS
from slimgpt.spec.prune import RecoverySpec
from slimgpt.texts.label_masking import IGNORED, Tokens

MEASUREMENTS = 10  # of the held-out loss, spread over the run
SNAPSHOTS = 20
TEXT, LESSONS = "text", "lessons"


@dataclass(frozen=True)
class Course:
    """What is trained on and what is measured on.

    Attributes:
        learned: sequences with labels.
        exams: held-out sequences by name: windows of the evaluation text, rows left out.
        pad: id that fills short sequences up.
    """

    learned: list[Tokens]
    evaluation_sets: dict[str, list[Tokens]]
    pad: int = 0

    def collate(self, batch: list[Tokens]) -> dict[str, Tensor]:
        """A batch as tensors (batch, longest), filled up on the right."""
        longest = max(len(one.input_ids) for one in batch)
        shape = (len(batch), longest)
        ids, labels = torch.full(shape, self.pad), torch.full(shape, IGNORED)
        mask = torch.zeros(shape, dtype=torch.int64)
        for row, one in enumerate(batch):
            length = len(one.input_ids)
            ids[row, :length] = torch.tensor(one.input_ids)
            labels[row, :length] = torch.tensor(one.labels)
            mask[row, :length] = 1
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}


class Teaching(Trainer):
    """A Trainer whose loss may be the distance from a teacher.

    Args:
        teacher: the dense model; None: the loss is that of the labels.
        temperature: of both distributions, for the teacher's loss.
    """

    def __init__(self, *, teacher: nn.Module | None, temperature: float, **given: Any) -> None:
        super().__init__(**given)
        self.teacher = teacher.eval() if teacher is not None else None
        self.temperature = temperature

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The loss of a batch; held-out loss is always that of the labels."""
        if self.teacher is None or not model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        read = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        outputs = model(**read)
        with torch.no_grad():
            wanted = self.teacher(**read).logits
        loss = divergence(outputs.logits, wanted, inputs["labels"], self.temperature)
        learned = (inputs["labels"][:, 1:] != IGNORED).sum()
        loss = loss / (learned if num_items_in_batch is None else num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


def divergence(logits: Tensor, wanted: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Σ KL(teacher ‖ student) over the positions that predict a learned token, times T².

    Args:
        logits, wanted: of student and teacher (batch, seq, vocab).
        labels: (batch, seq) with `IGNORED` where nothing is learned.
        temperature: T, which softens both (Hinton et al., 2015).
    """
    predicting = labels[:, 1:] != IGNORED
    student = (logits[:, :-1][predicting].float() / temperature).log_softmax(-1)
    teacher = (wanted[:, :-1][predicting].float() / temperature).log_softmax(-1)
    summed = nn.functional.kl_div(student, teacher, reduction="sum", log_target=True)
    return summed * temperature**2


def arguments(spec: RecoverySpec, course: Course, folder: Path, device: torch.device) -> Any:
    """The recipe in transformers' words."""
    micro = micro_batch(spec)
    steps = steps_of(spec, course)
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=spec.epochs,
        learning_rate=spec.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=spec.warmup_steps,
        weight_decay=spec.weight_decay,
        per_device_train_batch_size=micro,
        per_device_eval_batch_size=micro,
        gradient_accumulation_steps=spec.batch_size // micro,
        bf16=device.type == "cuda" and torch.cuda.is_bf16_supported(),
        use_cpu=device.type == "cpu",
        eval_strategy="steps" if course.evaluation_sets else "no",
        eval_steps=max(1, steps // MEASUREMENTS),
        prediction_loss_only=True,
        save_strategy="steps",
        save_steps=max(1, steps // SNAPSHOTS),
        save_total_limit=1,
        logging_steps=1,
        logging_nan_inf_filter=False,
        seed=spec.seed,
        data_seed=spec.seed,
        disable_tqdm=True,
        report_to="none",
        remove_unused_columns=False,
        dataloader_pin_memory=device.type == "cuda",
        log_level="error",
    )


def micro_batch(spec: RecoverySpec) -> int:
    """Sequences at once: the largest share of the global batch that is not too many tokens."""
    most = max(1, BATCH_TOKENS // spec.sequence_length)
    return max(n for n in range(1, spec.batch_size + 1) if spec.batch_size % n == 0 and n <= most)


def steps_of(spec: RecoverySpec, course: Course) -> int:
    """Steps of the optimiser in the whole run."""
    return max(1, math.ceil(math.ceil(len(course.learned) / spec.batch_size) * spec.epochs))


def train(trainer: Teaching, resume: bool) -> Generator[Event, None, list[Loss]]:
    """Run the trainer to its end.

    Args:
        resume: go on from the newest snapshot in its folder.

    Returns:
        the points of the loss curves, those from before a resume included.

    Raises:
        NumericalError: a loss is not finite.
    """
    trainer.args.eval_on_start = bool(trainer.eval_dataset) and not resume
    told: queue.Queue[Loss | BaseException | None] = queue.Queue()
    trainer.remove_callback(PrinterCallback)  # it writes to the standard output
    trainer.add_callback(_Teller(told))

    def work() -> None:
        try:
            trainer.train(resume_from_checkpoint=resume)
        except BaseException as error:  # whatever it is, the engine's thread must hear of it
            told.put(error)
        else:
            told.put(None)

    thread = threading.Thread(target=work, name="recovery", daemon=True)
    thread.start()
    while (news := told.get()) is not None:
        if isinstance(news, BaseException):
            raise news
        yield news
        if news.train is not None:
            what = f"training, loss {news.train:.3f}"
            yield Progress(stage="recover", done=news.step, total=news.steps, what=what)
    thread.join()
    return curves(trainer.state)


def curves(state: TrainerState) -> list[Loss]:
    """The points of the loss curves in a trainer's history."""
    points = [_point(entry, state.max_steps) for entry in state.log_history]
    return [point for point in points if point is not None]


def _point(entry: dict[str, Any], steps: int) -> Loss | None:
    known = {
        "train": entry.get("loss"),
        "text": entry.get(f"eval_{TEXT}_loss"),
        "lessons": entry.get(f"eval_{LESSONS}_loss"),
    }
    if all(value is None for value in known.values()):
        return None
    rate = entry.get("learning_rate")
    return Loss(step=int(entry["step"]), steps=steps, learning_rate=rate, **known)


class _Teller(TrainerCallback):
    """Hands every logged loss over, and stops at the first that is no number."""

    def __init__(self, told: queue.Queue[Loss | BaseException | None]) -> None:
        self._told = told

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, **given: Any
    ) -> TrainerControl:
        entry = {"step": state.global_step, **(given.get("logs") or {})}
        point = _point(entry, state.max_steps)
        if point is not None:
            for name in ("train", "text", "lessons"):
                value = getattr(point, name)
                if value is not None and not math.isfinite(value):
                    raise _diverged(name, value, point)
            self._told.put(point)
        return control


def _diverged(name: str, value: float, point: Loss) -> SlimGPTError:
    which = "training loss" if name == "train" else "held-out loss"
    return NumericalError(
        f"recovery: the {which} is {value} at step {point.step} of {point.steps}",
        hint="lower `recovery.learning_rate`, or recover without: the pruned layers are kept",
    )
