"""`Snapshot`: the state of a training after a step, in memory and on disk.

step-00012.safetensors   trainable weights and AdamW's moments
step-00012.json          the rest, written last; it marks the snapshot as complete
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from slimgpt.checkpoints import safetensors_file
from slimgpt.events import Loss
from slimgpt.machine import disk
from slimgpt.recovery.schedule import Schedule

WEIGHT = "weight"
Weights = dict[str, torch.nn.Parameter]


@dataclass
class Snapshot:
    """State of a training.

    Attributes:
        schedule: the schedule, with all reductions so far.
        step: number of finished steps.
        seconds: their duration, over all attempts.
        points: the loss curves so far.
        file: file of the tensors, if read from disk.
    """

    schedule: Schedule
    step: int = 0
    seconds: float = 0.0
    points: list[Loss] = field(default_factory=list)
    file: Path | None = None

    @classmethod
    def newest(cls, folder: Path) -> Snapshot | None:
        """The newest complete snapshot of a folder; None if there is none."""
        for record in sorted(folder.glob("step-*.json"), reverse=True):
            tensors = record.with_suffix(".safetensors")
            if tensors.exists():
                content = json.loads(record.read_bytes())
                cuts = tuple((at, steps) for at, steps in content["schedule"].pop("cuts"))
                return cls(
                    Schedule(**content["schedule"], cuts=cuts),
                    content["step"],
                    content["seconds"],
                    [Loss.model_validate(point) for point in content["points"]],
                    tensors,
                )
        return None

    def save(self, folder: Path, weights: Weights, optimizer: torch.optim.Optimizer) -> None:
        """Write the snapshot, and remove older ones.

        Raises:
            StorageError: the disk is full.
        """
        with disk.storage_errors(folder, 0):
            folder.mkdir(parents=True, exist_ok=True)
        name = f"step-{self.step:07d}"
        older = [file for file in folder.glob("step-*") if file.stem != name]
        tensors: dict[str, Tensor] = {}
        for key, weight in weights.items():
            tensors[f"{key}/{WEIGHT}"] = weight.detach().cpu()
            for moment, tensor in optimizer.state[weight].items():
                tensors[f"{key}/{moment}"] = tensor.cpu()
        safetensors_file.save(folder / f"{name}.safetensors", tensors)
        content = {
            "schedule": asdict(self.schedule),
            "step": self.step,
            "seconds": self.seconds,
            "points": [point.model_dump(exclude={"type", "point"}) for point in self.points],
        }
        disk.write_text(folder / f"{name}.json", json.dumps(content, allow_nan=False))
        for file in sorted(older):  # the record before its tensors
            file.unlink()

    def load(self, weights: Weights, optimizer: torch.optim.Optimizer) -> None:
        """Load the tensors into a new training's weights and optimizer."""
        assert self.file is not None
        moments: dict[str, dict[str, Tensor]] = {key: {} for key in weights}
        for name, tensor in safetensors_file.load(self.file).items():
            key, _, moment = name.rpartition("/")
            moments[key][moment] = tensor
        for key, weight in weights.items():
            with torch.no_grad():
                weight.copy_(moments[key].pop(WEIGHT))
            optimizer.state[weight] = {
                name: tensor if name == "step" and not weight.is_cuda else tensor.to(weight.device)
                for name, tensor in moments[key].items()
            }

    def fit(self, seconds: float, allowed: float, late: float) -> None:
        """Reduce the number of steps if the training would exceed the time limit.

        Args:
            seconds: since the first step.
            allowed: for all steps.
            late: tolerated excess, as a factor of `allowed`.
        """
        step_seconds = seconds / self.step
        if step_seconds * self.schedule.steps > allowed * late:
            steps = max(self.step, int(allowed / step_seconds))
            if steps < self.schedule.steps:
                self.schedule = self.schedule.cut(self.step, steps)
