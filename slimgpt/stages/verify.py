"""The `verify` stage: writes the result to a temporary folder, verifies it, renames it once."""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import slimgpt
from slimgpt.checkpoints.output import provenance
from slimgpt.checkpoints.output.partial import PartialCheckpoint
from slimgpt.checkpoints.output.provenance import Origin
from slimgpt.events import Event, PointEvent, Progress, Verified, Warned
from slimgpt.layers.stack import Stack
from slimgpt.machine import disk, environment, memory
from slimgpt.planning import token_costs
from slimgpt.recovery.peft_model import ADAPTERS, BASE
from slimgpt.report import folder as pages
from slimgpt.report.document import REPORT
from slimgpt.report.schema import (
    CalibrationReport,
    EnvironmentReport,
    ModelReport,
    RecoveryReport,
    RepeatReport,
    Report,
)
from slimgpt.spec.names import published_name
from slimgpt.stages import formats
from slimgpt.stages.formats import FinishedModel
from slimgpt.stages.recover import Recovery
from slimgpt.stages.state import ModelState
from slimgpt.verification import tokenizer
from slimgpt.verification.formats import Probe
from slimgpt.verification.reload import Loading, prove

PROBE_SEQUENCES = 4
PROBE_TOKENS = 128


def publish(
    state: ModelState, partial: PartialCheckpoint, pruned: Stack, destination: Path
) -> Generator[Event, None, None]:
    """Write the checkpoint folder and verify that it loads; it appears only then.

    Raises:
        VerificationError: a fresh process cannot load it, or its results differ.
        NumericalError: the model's logits are not finite.
        StorageError: the disk is full.
    """
    began, steps = time.monotonic(), 2 + len(formats.further(state.spec))
    yield Progress(stage="verify", done=0, total=steps, what="writing")
    tokens = state.inputs.calibration.input_ids[:PROBE_SEQUENCES, :PROBE_TOKENS].contiguous()
    unproved: list[Warned] = []
    form, parent = formats.main(state.spec), state.inputs.checkpoint
    with (
        disk.new_folder(destination) as folder,
        Loading(folder, state.device, form) as process,  # imports while the folder is written
    ):
        probe = Probe(tokens, pruned.logits(tokens), state.device)
        model = FinishedModel(partial, parent, state.plan.after)
        formats.write_checkpoint(form, model, folder)
        yield Progress(stage="verify", done=1, total=steps, what=_loading(state))
        state.verified.append(prove(process, probe.tokens, probe.logits))
        name = published_name(state.inputs.model.model, state.plan.ratio_achieved)
        for result in formats.write_further(state.spec, model, folder, probe, name):
            if isinstance(result, Verified):
                state.verified.append(result)
            else:
                state.warnings.append(result.message)
                unproved.append(result)
        stock = [folder / form for form in formats.further(state.spec) if form != "gguf"]
        tokenizer.prove(parent.folder, [folder, *stock])
        state.seconds["verify"] = time.monotonic() - began
        _add_documents(state, folder)
    yield from unproved
    yield from state.verified


def _loading(state: ModelState) -> str:
    others = ", ".join(formats.further(state.spec))
    return "loading in a fresh process" + (f", and writing and loading {others}" if others else "")


def _add_documents(state: ModelState, folder: Path) -> None:
    """Write what is beside the weights: adapters, provenance, measured damage, report and pages."""
    if state.recovery is not None:
        _add_recovery(state, state.recovery, folder)
    provenance.write(folder, _provenance(state))
    if state.pruning_plan.damage is not None:
        state.pruning_plan.damage.model_copy(update={"job": None}).save(folder)
    disk.write_text(folder / REPORT, _report(state, folder).model_dump_json(indent=2) + "\n")
    pages.write(folder)


def _add_recovery(state: ModelState, recovery: Recovery, folder: Path) -> None:
    """Write the adapters, if any, and their base model if that is not what is published."""
    if (recovery.folder / ADAPTERS).exists():
        shutil.copytree(recovery.folder / ADAPTERS, folder / ADAPTERS)
    if state.verdict.recovered:
        base = folder / BASE
        with disk.storage_errors(base, 0):
            base.mkdir()
        pruned = FinishedModel(state.partial, state.inputs.checkpoint, state.plan.after)
        formats.write_checkpoint(formats.main(state.spec), pruned, base)


def _provenance(state: ModelState) -> dict[str, Any]:
    inputs = state.inputs
    origin = Origin(
        model=inputs.model.model,
        revision=inputs.model.revision,
        licence=inputs.model.licence,
        calibration_sha256=inputs.calibration.sha256,
        started=state.started,
    )
    return provenance.build(inputs.checkpoint, origin, state.spec, state.records)


def _report(state: ModelState, folder: Path) -> Report:
    model, plan = state.inputs.model, state.plan
    calibration, spec = state.inputs.calibration, state.spec
    return Report(
        verdict=state.verdict.line,
        assessment=state.verdict.assessment,
        engine_version=slimgpt.__version__,
        model=ModelReport(
            model=model.model,
            revision=model.revision,
            licence=model.licence,
            parameters_before=plan.parameters_before,
            parameters_after=plan.parameters_after,
            ratio_achieved=plan.ratio_achieved,
            bytes_before=state.inputs.checkpoint.bytes,
            bytes_after=sum(shard.stat().st_size for shard in folder.glob("*.safetensors")),
        ),
        spec=spec,
        calibration=CalibrationReport(
            source=calibration.source,
            samples=spec.calibration.samples,
            sequence_length=spec.calibration.sequence_length,
            begins_with=calibration.begins_with,
            seed=spec.calibration.seed,
            documents_used=calibration.documents_used,
            sha256=calibration.sha256,
        ),
        layers=state.records,
        recovery=_recovery(state),
        perplexity=_event_fields(state.perplexity, "point"),
        tasks=_event_fields(state.tasks),
        inference=_event_fields(state.inference),
        verified=_event_fields(state.verified, "point"),
        drift=state.drift,
        samples=state.samples,
        token_costs=token_costs.of(state.inputs.checkpoint, plan.after),
        seconds=state.seconds,
        stage_memory_bytes=state.peaks,
        device=str(state.device),
        environment=EnvironmentReport(**environment.describe(state.device)),
        repeat=_repeat(state),
        peak_memory_bytes=max(memory.peak_bytes(state.device), *state.peaks.values()),
        warnings=state.warnings,
    )


def _repeat(state: ModelState) -> RepeatReport:
    """The specification, with the model at the revision that was pruned."""
    model = state.inputs.model
    named = model.model.partition("@")[0] if model.revision else model.model
    body = state.spec.model_dump(mode="json", exclude_none=True)
    body["model"] = f"{named}@{model.revision}" if model.revision else named
    return RepeatReport(command=state.launch.command or None, body=body)


def _event_fields(events: Sequence[PointEvent], *without: str) -> list[dict[str, Any]]:
    """The fields of events as in the report of one model."""
    return [event.model_dump(exclude=set(without or ("type", "point"))) for event in events]


def _recovery(state: ModelState) -> RecoveryReport | None:
    if state.recovery is None:
        return None
    training_data, decision = state.recovery.training_data, state.recovery.decision
    return RecoveryReport(
        source=training_data.source,
        sequences=len(training_data.training),
        tokens=sum(one.learned for one in training_data.training),
        held_out=len(training_data.held_out),
        left_out=training_data.left_out,
        sha256=training_data.sha256,
        trainable_parameters=state.recovery.trainable,
        curves=_event_fields(state.recovery.curves),
        published=state.verdict.recovered,
        steps=state.recovery.curves[-1].steps,
        batch_size=decision.batch_size,
        learning_rate=decision.learning_rate,
        probe=[tried.model_dump(include={"learning_rate", "loss"}) for tried in decision.tried],
        seconds=state.recovery.seconds,
        teacher_bytes=state.recovery.teacher_bytes,
    )
