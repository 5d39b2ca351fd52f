"""The `verify` stage: the published folder is written aside, proved, and renamed once."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import slimgpt
from slimgpt.checkpoints.output import folder as published
from slimgpt.checkpoints.output import provenance
from slimgpt.checkpoints.output.partial import PartialCheckpoint, link
from slimgpt.checkpoints.output.provenance import Origin
from slimgpt.events import Event, PointEvent, Progress, Verified, Warned
from slimgpt.layers.stack import Stack
from slimgpt.machine import disk, memory
from slimgpt.proof.formats import Probe
from slimgpt.proof.load import verify
from slimgpt.recovery.peft_model import ADAPTERS, BASE
from slimgpt.report import folder as pages
from slimgpt.report.schema import CalibrationReport, ModelReport, RecoveryReport, Report
from slimgpt.report.verdict import Verdict
from slimgpt.stages import formats
from slimgpt.stages.recover import Recovery
from slimgpt.stages.state import Findings

PROBE_SEQUENCES = 4
PROBE_TOKENS = 128
REPORT = "report.json"


def publish(
    findings: Findings, partial: PartialCheckpoint, pruned: Stack, destination: Path
) -> Generator[Event, None, None]:
    """Write the checkpoint folder and prove that it loads; it appears only if it does.

    Raises:
        VerificationError: a fresh process cannot load it, or computes something else.
        StorageError: the disk is full.
    """
    steps = 2 + len(formats.wanted(findings.spec))
    yield Progress(stage="verify", done=0, total=steps, what="writing")
    partial.write_outer(findings.intake.checkpoint)
    probe = findings.intake.calibration.input_ids[:PROBE_SEQUENCES, :PROBE_TOKENS].contiguous()
    expected = pruned.logits(probe)

    unproved: list[Warned] = []

    def complete(folder: Path) -> None:
        published.write(findings.intake.checkpoint, findings.plan.after, folder)
        findings.verified.append(verify(folder, probe, expected, findings.device))
        for told in formats.write(findings.spec, folder, Probe(probe, expected, findings.device)):
            if isinstance(told, Verified):
                findings.verified.append(told)
            else:
                findings.warnings.append(told.message)
                unproved.append(told)
        if findings.recovery is not None:
            _add_recovery(findings.recovery, findings.verdict, folder)
        provenance.write(folder, _provenance(findings))
        disk.write_text(folder / REPORT, _report(findings, folder).model_dump_json(indent=2) + "\n")
        pages.write(folder)

    yield Progress(stage="verify", done=1, total=steps, what=_loading(findings))
    partial.finalise(destination, complete)
    yield from unproved
    yield from findings.verified


def _loading(findings: Findings) -> str:
    others = ", ".join(formats.wanted(findings.spec))
    return "loading in a fresh process" + (f", and writing and loading {others}" if others else "")


def _add_recovery(recovery: Recovery, verdict: Verdict, folder: Path) -> None:
    """The adapters, and what they were trained on where the merged model is what is published."""
    shutil.copytree(recovery.folder / ADAPTERS, folder / ADAPTERS)
    if verdict.recovered:
        shutil.copytree(recovery.folder / BASE, folder / BASE, copy_function=_link)


def _link(source: str, target: str) -> None:
    link(Path(source), Path(target))


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
        verdict=findings.verdict.line,
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
        recovery=_recovery(findings),
        perplexity=_said(findings.perplexity, "point"),
        tasks=_said(findings.tasks),
        inference=_said(findings.inference),
        verified=_said(findings.verified, "point"),
        drift=findings.drift,
        seconds=findings.seconds,
        stage_memory_bytes=findings.peaks,
        device=str(findings.device),
        peak_memory_bytes=max(memory.peak_bytes(findings.device), *findings.peaks.values()),
        warnings=findings.warnings,
    )


def _said(events: Sequence[PointEvent], *without: str) -> list[dict[str, Any]]:
    """Events as a report keeps them, which is one model's."""
    return [event.model_dump(exclude=set(without or ("type", "point"))) for event in events]


def _recovery(findings: Findings) -> RecoveryReport | None:
    if findings.recovery is None:
        return None
    material = findings.recovery.material
    return RecoveryReport(
        source=material.source,
        sequences=len(material.learned),
        tokens=sum(one.learned for one in material.learned),
        held_out=len(material.held_out),
        left_out=material.left_out,
        sha256=material.sha256,
        trainable_parameters=findings.recovery.trainable,
        curves=_said(findings.recovery.curves),
        published=findings.verdict.recovered,
    )
