"""The report's key facts: model, target, calibration, versions, as label and text."""

from __future__ import annotations

from slimgpt.report.document import Document
from slimgpt.report.schema import SCHEMA_VERSION
from slimgpt.report.tables.cells import NOTHING, printable
from slimgpt.spec.sizes import short_size


def facts(document: Document) -> list[tuple[str, str]]:
    """Labels and texts of the key facts that the report has."""
    model, spec = document.model, document.spec
    calibration, schedule = document.calibration, spec.get("schedule")
    shape = schedule.get("shape", "") if isinstance(schedule, dict) else ""
    found = [
        ("Model", model.model),
        ("Revision", model.revision),
        ("Licence", model.licence),
        ("Target", target(document) or NOTHING),
        ("Method", spec.get("method")),
        ("Recipe", spec.get("recipe")),
        ("Schedule", shape),
        ("Calibration", calibration and f"{calibration.source}: {calibration.samples} × "
         f"{calibration.sequence_length} tokens, seed {calibration.seed}"
         + (f", each begins with {calibration.begins_with}" if calibration.begins_with else "")),
        ("Calibration tokens", calibration and f"sha256 {calibration.sha256}"),
        ("Device", document.device),
        ("Hardware", _hardware(document)),
        ("System", document.environment and document.environment.system),
        ("Engine", document.engine_version and f"slimgpt-service {document.engine_version}"),
        ("Libraries", _libraries(document)),
        ("Started", document.provenance.get("started")),
        ("Report", f"schema {document.schema_version}"
         + (f", newer than {SCHEMA_VERSION}: some fields may not be shown" if document.newer
            else "")),
    ]  # fmt: skip
    return [(name, printable(value)) for name, value in found if value]


def target(document: Document) -> str:
    """The requested size; empty if the specification has none."""
    for name in ("ratio", "parameters", "memory"):
        if document.spec.get(name) is not None:
            return f"{name} {document.spec[name]}"
    return ""


def _hardware(document: Document) -> str:
    """Processor with its threads, and the GPU."""
    one = document.environment
    if one is None:
        return ""
    threads = f", {one.threads} threads on {one.cores} cores" if one.threads else ""
    memory = f" of {short_size(one.gpu_memory_bytes)}" if one.gpu_memory_bytes else ""
    gpu = f"{one.gpu}{memory}, CUDA {one.cuda}; " if one.gpu else ""
    return f"{gpu}{one.processor}{threads}"


def _libraries(document: Document) -> str:
    known = document.environment.versions if document.environment else {}
    libraries = known or document.provenance.get("libraries")
    if not isinstance(libraries, dict):
        return ""
    return ", ".join(f"{name} {version}" for name, version in libraries.items())
