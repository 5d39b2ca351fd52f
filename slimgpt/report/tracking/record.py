"""`Record`: a report's parameters, metrics and tags for MLflow; nothing is computed here.

| in the report | in MLflow |
|---|---|
| fields of the specification that are set | parameters, `calibration.samples` |
| one number of the whole model | a metric, `perplexity/wikitext2/128/pruned` |
| a number per layer or per step | a metric whose step is the layer or the step |
| model, outcome, versions | tags, `slimgpt.verdict` |
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from slimgpt.report.document import NAMES, Document
from slimgpt.report.tracking import names

LAYER_FIELDS = ("heads", "kv_heads", "channels", "parameters", "attention_error", "ffn_error",
                "attention_damping", "ffn_damping", "seconds")  # fmt: skip
LOSS_FIELDS = ("train", "text", "lessons", "learning_rate")
SPEED_FIELDS = ("prefill_ms", "prefill_spread_ms", "decode_ms_per_token", "decode_spread_ms",
                "tokens_per_second", "peak_memory_bytes", "weights_bytes")  # fmt: skip
NOT_FINITE = "slimgpt.not_finite"


class Metric(NamedTuple):
    """One number; `step` is a layer or a training step, else 0."""

    name: str
    value: float
    step: int = 0


class Found(NamedTuple):
    """A number of the report with the parts of its name; None: not measured."""

    parts: tuple[object, ...]
    value: float | None
    step: int = 0


@dataclass(frozen=True)
class Record:
    """The content of an MLflow run.

    Attributes:
        metrics: only finite ones, because MLflow stores infinity as 1.8e308. The names of the
            others are in the tag `slimgpt.not_finite`.
    """

    parameters: Mapping[str, str]
    metrics: tuple[Metric, ...]
    tags: Mapping[str, str]


def of(document: Document) -> Record:
    """The record of a report."""
    metrics, lost = _named(_found(document))
    tags = _tags(document) | ({NOT_FINITE: ", ".join(lost)} if lost else {})
    return Record(
        parameters=_parameters(document),
        metrics=metrics,
        tags={name: names.cut(text, names.LONGEST_TAG) for name, text in tags.items() if text},
    )


def _named(found: Iterator[Found]) -> tuple[tuple[Metric, ...], list[str]]:
    """The metrics with valid MLflow names, and the names of those that are not finite."""
    name_of: dict[tuple[object, ...], str] = {}
    taken: set[str] = set()
    metrics: list[Metric] = []
    lost: dict[str, None] = {}
    for parts, value, step in found:
        if value is None:
            continue
        if parts not in name_of:
            name_of[parts] = names.unique(names.path(*parts), taken, parts)
            taken.add(name_of[parts])
        if math.isfinite(value):
            metrics.append(Metric(name_of[parts], float(value), step))
        else:
            lost[name_of[parts]] = None
    return tuple(metrics), list(lost)


def _found(document: Document) -> Iterator[Found]:
    model = document.model
    yield Found(("parameters", "before"), model.parameters_before)
    yield Found(("parameters", "after"), model.parameters_after)
    yield Found(("ratio_achieved",), model.ratio_achieved)
    yield Found(("bytes", "before"), model.bytes_before)
    yield Found(("bytes", "after"), model.bytes_after)
    yield from _quality(document)
    for speed in document.inference:
        place = ("inference", speed.loader.partition(" ")[0] or "loader", f"batch-{speed.batch}")
        for field in SPEED_FIELDS:
            yield Found((*place, speed.model, field), getattr(speed, field))
    for proof in document.verified:
        place = ("verified", proof.format, proof.loader.partition(" ")[0])
        yield Found((*place, "max_difference"), proof.max_difference)
        yield Found((*place, "bound"), proof.bound)
    for stage, seconds in document.seconds.items():
        yield Found(("seconds", stage), seconds)
    for stage, memory in document.stage_memory_bytes.items():
        yield Found(("memory_bytes", stage), memory)
    yield Found(("peak_memory_bytes",), document.peak_memory_bytes)
    yield from _stepped(document)


def _quality(document: Document) -> Iterator[Found]:
    for one in document.perplexity:
        for name in NAMES:
            parts = ("perplexity", one.text, one.sequence_length, name)
            yield Found(parts, getattr(one, name))
    for score in document.tasks:
        place = ("tasks", score.task, score.metric or "score")
        for name in NAMES:
            yield Found((*place, name), getattr(score, name))
            yield Found((*place, f"{name}_stderr"), getattr(score, f"{name}_error"))


def _stepped(document: Document) -> Iterator[Found]:
    for layer in document.layers:
        ratio = 1 - layer.parameters / layer.parameters_before
        yield Found(("layers", "ratio"), ratio, layer.layer)
        for field in LAYER_FIELDS:
            yield Found(("layers", field), getattr(layer, field), layer.layer)
    for drifted in document.drift:
        for field in ("stream", "ffn"):
            yield Found(("drift", drifted.model, field), getattr(drifted, field), drifted.layer)
    for loss in document.recovery.curves if document.recovery else ():
        for field in LOSS_FIELDS:
            yield Found(("loss", field), getattr(loss, field), loss.step)


def _parameters(document: Document) -> dict[str, str]:
    """The specification, with `a.b` for nested fields; None values are omitted."""
    made: dict[str, str] = {}
    given = [*_flat(document.spec), (("device",), document.device)]
    for parts, value in given:
        name = names.path(".".join(parts))
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        made[names.unique(name, made, parts)] = names.cut(text, names.LONGEST_PARAMETER)
    return made


def _flat(content: Mapping[str, Any], *above: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, *above, name)
        elif value is not None:
            yield (*above, name), value


def _tags(document: Document) -> dict[str, str]:
    model = document.model
    return {
        "mlflow.note.content": document.verdict,  # what MLflow shows as the description
        "slimgpt.verdict": document.verdict,
        "slimgpt.engine_version": document.engine_version,
        "slimgpt.model": model.model,
        "slimgpt.revision": model.revision or "",
        "slimgpt.licence": model.licence or "",
        "slimgpt.published": document.published,
        "slimgpt.device": document.device,
        "slimgpt.evaluation_sha256": ", ".join(
            f"{one.text}/{one.sequence_length} {one.sha256}"
            for one in document.perplexity
            if one.sha256
        ),
        "slimgpt.warnings": "\n".join(document.warnings),
    }
