"""`ModelState`: intermediate results of one model of a job, passed between stages."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import torch

from slimgpt.checkpoints.output.partial import PartialCheckpoint
from slimgpt.events import Latency, ModelName, Perplexity, TaskScore, Verified
from slimgpt.layers.perplexity import Likelihood
from slimgpt.layers.stack import Stack, StoredModel
from slimgpt.machine.launch import Launch
from slimgpt.machine.ranks import Ranks
from slimgpt.planning.plan import Plan
from slimgpt.report.schema import SampleReport
from slimgpt.report.summary import Summary
from slimgpt.spec.prune import PruneSpec
from slimgpt.stages.plan import PruningPlan
from slimgpt.stages.prune import pruned_model
from slimgpt.stages.recover import Recovery
from slimgpt.stages.resolve import JobInputs


@dataclass
class ModelState:
    """Results of the stages so far; complete after the last stage.

    Attributes:
        spec: specification with one target, for a sweep that of one point.
        fingerprint: identifies the model, the specification and the calibration tokens.
        partial: the pruned layers.
    """

    spec: PruneSpec
    ranks: Ranks
    launch: Launch = field(default_factory=Launch)
    inputs: JobInputs = field(init=False)
    pruning_plan: PruningPlan = field(init=False)
    fingerprint: str = field(init=False)
    partial: PartialCheckpoint = field(init=False)
    records: list[dict[str, Any]] = field(default_factory=list)
    recovery: Recovery | None = None
    verdict: Summary = field(init=False)
    perplexity: list[Perplexity] = field(default_factory=list)
    dense_likelihoods: list[Likelihood] = field(default_factory=list)
    inference: list[Latency] = field(default_factory=list)
    tasks: list[TaskScore] = field(default_factory=list)
    verified: list[Verified] = field(default_factory=list)
    drift: list[dict[str, Any]] = field(default_factory=list)
    samples: SampleReport | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return self.ranks.device

    @property
    def started(self) -> datetime:
        """When the run was started."""
        return datetime.fromtimestamp(self.launch.began, UTC)

    @property
    def plan(self) -> Plan:
        """The sizes of the model after pruning."""
        return self.pruning_plan.plan

    @property
    def published(self) -> ModelName:
        """The model that is published; known after the evaluation."""
        return "recovered" if self.verdict.recovered else "pruned"

    @property
    def stored(self) -> dict[ModelName, StoredModel]:
        """The dense, the pruned and, after a recovery, the recovered model."""
        checkpoint = self.inputs.checkpoint
        models: dict[ModelName, StoredModel] = {
            "dense": StoredModel(checkpoint),
            "pruned": pruned_model(checkpoint, self.plan, self.partial),
        }
        if self.recovery is not None:
            models["recovered"] = pruned_model(checkpoint, self.plan, self.recovery.partial)
        return models

    @property
    def models(self) -> dict[ModelName, Stack]:
        """The same models on this process's device, read layer by layer."""
        return {name: stored.stack(Ranks(self.device)) for name, stored in self.stored.items()}
