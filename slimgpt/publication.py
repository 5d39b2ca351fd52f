"""The `verify` stage: the published folder is written aside, proved, and renamed once."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import slimgpt
from slimgpt import disk, memory
from slimgpt.checkpoints import provenance, published
from slimgpt.checkpoints.provenance import Origin
from slimgpt.checkpoints.shards import PartialCheckpoint
from slimgpt.config import PruneSpec
from slimgpt.events import Event, Perplexity, Progress, Verified
from slimgpt.intake import Intake
from slimgpt.layers.stack import Stack
from slimgpt.planning.plan import Plan
from slimgpt.report import CalibrationReport, ModelReport, Report
from slimgpt.verify import verify

PROBE_SEQUENCES = 4
PROBE_TOKENS = 128
REPORT = "report.json"


@dataclass
class Findings:
    """What a job has found out so far; complete when its last stage is done."""

    spec: PruneSpec
    device: torch.device
    intake: Intake = field(init=False)
    plan: Plan = field(init=False)
    records: list[dict[str, Any]] = field(default_factory=list)
    perplexity: list[Perplexity] = field(default_factory=list)
    verified: list[Verified] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))


def publish(
    findings: Findings, partial: PartialCheckpoint, pruned: Stack, destination: Path
) -> Generator[Event, None, None]:
    """Write the checkpoint folder and prove that it loads; it appears only if it does.

    Raises:
        VerificationError: a fresh process cannot load it, or computes something else.
        StorageError: the disk is full.
    """
    yield Progress(stage="verify", done=0, total=2, what="writing")
    partial.write_outer(findings.intake.checkpoint)
    probe = findings.intake.calibration.input_ids[:PROBE_SEQUENCES, :PROBE_TOKENS].contiguous()
    expected = pruned.logits(probe)

    def complete(folder: Path) -> None:
        published.write(findings.intake.checkpoint, findings.plan.after, folder)
        findings.verified.append(verify(folder, probe, expected, findings.device))
        provenance.write(folder, _provenance(findings))
        disk.write_text(folder / REPORT, _report(findings, folder).model_dump_json(indent=2) + "\n")

    yield Progress(stage="verify", done=1, total=2, what="loading in a fresh process")
    partial.finalise(destination, complete)
    yield from findings.verified


def _provenance(findings: Findings) -> dict[str, Any]:
    taken = findings.intake
    origin = Origin(
        model=taken.model.model,
        revision=taken.model.revision,
        licence=taken.model.licence,
        calibration_sha256=taken.calibration.sha256,
        started=findings.started,
    )
    return provenance.build(taken.checkpoint, origin, findings.spec, findings.records)


def _report(findings: Findings, folder: Path) -> Report:
    model, plan = findings.intake.model, findings.plan
    calibration, spec = findings.intake.calibration, findings.spec
    return Report(
        engine_version=slimgpt.__version__,
        model=ModelReport(
            model=model.model,
            revision=model.revision,
            licence=model.licence,
            parameters_before=plan.parameters_before,
            parameters_after=plan.parameters_after,
            ratio_achieved=plan.ratio_achieved,
            bytes_before=findings.intake.checkpoint.bytes,
            bytes_after=sum(shard.stat().st_size for shard in folder.glob("*.safetensors")),
        ),
        spec=spec,
        calibration=CalibrationReport(
            source=calibration.source,
            samples=spec.calibration.samples,
            sequence_length=spec.calibration.sequence_length,
            seed=spec.calibration.seed,
            documents_used=calibration.documents_used,
            sha256=calibration.sha256,
        ),
        layers=findings.records,
        perplexity=[one.model_dump() for one in findings.perplexity],
        verified=[one.model_dump() for one in findings.verified],
        seconds=findings.seconds,
        device=str(findings.device),
        peak_memory_bytes=memory.peak_bytes(findings.device),
        warnings=findings.warnings,
    )
