"""All tables of a report, in reading order, shared by the HTML page and the terminal."""

from __future__ import annotations

from collections.abc import Callable

from slimgpt.events import ModelName, Verified
from slimgpt.report.document import NAMES, Document, Recovery, Score
from slimgpt.report.tables import layers
from slimgpt.report.tables.cells import (
    Cell,
    Table,
    between,
    change,
    derived,
    number,
    pointer,
    words,
)


def tables(document: Document) -> dict[str, Table]:
    """The tables for which the report has data, by name, in reading order."""
    makers: tuple[Callable[[Document], Table], ...] = (
        _size,
        _perplexity,
        _tasks,
        _inference,
        layers.layers,
        layers.drift,
        _recovery,
        _losses,
        _stages,
        _proofs,
    )
    made = [maker(document) for maker in makers]
    return {table.name: table for table in made if table.rows}


def shown(document: Document) -> tuple[ModelName, ...]:
    """The models that have perplexities."""
    recovered = any(one.recovered is not None for one in document.perplexity)
    return NAMES if recovered else NAMES[:2]


def _size(document: Document) -> Table:
    model = document.model
    rows = [
        (
            words("Parameters"),
            number(model.parameters_before, "/model/parameters_before", "whole"),
            number(model.parameters_after, "/model/parameters_after", "whole"),
            number(model.ratio_achieved, "/model/ratio_achieved", "percent"),
        ),
        (
            words("Weights on disk"),
            number(model.bytes_before, "/model/bytes_before", "size"),
            number(model.bytes_after, "/model/bytes_after", "size"),
            derived(1 - model.bytes_after / model.bytes_before if model.bytes_before else None,
                    "percent"),
        ),
    ]  # fmt: skip
    return Table("size", "Size", ("", "Before", "After", "Removed"), rows)


def _perplexity(document: Document) -> Table:
    names = shown(document)
    kept = document.published if document.published in names else "pruned"
    rows = []
    for index, one in enumerate(document.perplexity):
        at = f"/perplexity/{index}"
        rows.append(
            (
                words(one.text),
                number(one.sequence_length, f"{at}/sequence_length", "whole"),
                words(one.begins_with or "text"),
                number(one.tokens, f"{at}/tokens", "whole"),
                *(number(getattr(one, name), f"{at}/{name}") for name in names),
                change(getattr(one, kept), one.dense),
                between(getattr(one, f"{kept}_ratio_interval"), "times"),
            )
        )
    header = (
        "Text",
        "Window",
        "Begins with",
        "Tokens",
        *(name.capitalize() for name in names),
        f"Change, {kept}",
        "95% interval",
    )
    note = (
        "Lower is better. All models are measured on the same windows, which do not overlap. "
        f"Interval: of {kept} ÷ dense, from 2,000 samples of the windows with replacement."
    )
    return Table("perplexity", "Perplexity", header, rows, note)


def _tasks(document: Document) -> Table:
    scored = [name for name in NAMES if any(_of(one, name) is not None for one in document.tasks)]
    rows = []
    for index, one in enumerate(document.tasks):
        at = f"/tasks/{index}"
        cells = [
            words(named(one)),
            words(one.metric),
            number(one.shots, f"{at}/shots", "whole"),
            number(one.samples, f"{at}/samples", "whole"),
        ]
        for name in scored:
            cells.append(number(_of(one, name), f"{at}/{name}", "score"))
            error = getattr(one, f"{name}_error")
            cells.append(number(error, f"{at}/{name}_error", "score"))
        rows.append(tuple(cells))
    columns = [column for name in scored for column in (name.capitalize(), "±")]
    header = ("Task", "Metric", "Shots", "Items", *columns)
    return Table(
        "tasks",
        "Tasks",
        header,
        rows,
        "Higher is better, except for perplexities. ± is one standard error.",
    )


def named(one: Score) -> str:
    """A task's name with its group; a group's mean is marked as such."""
    if one.group == one.task:
        return f"{one.task}, mean"
    return f"{one.group}: {one.task}" if one.group else one.task


def _of(one: Score, name: ModelName) -> float | None:
    value: float | None = getattr(one, name)
    return value


def _inference(document: Document) -> Table:
    loaders = list(dict.fromkeys(one.loader for one in document.inference))
    several = len(loaders) > 1
    rows = []
    for index, one in enumerate(document.inference):
        at = f"/inference/{index}"
        rows.append(
            (
                words(one.model),
                *((words(one.loader),) if several else ()),
                number(one.batch, f"{at}/batch", "whole"),
                number(one.prompt_tokens, f"{at}/prompt_tokens", "whole"),
                number(one.new_tokens, f"{at}/new_tokens", "whole"),
                number(one.prefill_ms, f"{at}/prefill_ms"),
                number(one.prefill_spread_ms, f"{at}/prefill_spread_ms", "fine"),
                number(one.decode_ms_per_token, f"{at}/decode_ms_per_token"),
                number(one.decode_spread_ms, f"{at}/decode_spread_ms", "fine"),
                number(one.tokens_per_second, f"{at}/tokens_per_second"),
                number(one.peak_memory_bytes or None, f"{at}/peak_memory_bytes", "size"),
                number(one.weights_bytes or None, f"{at}/weights_bytes", "size"),
            )
        )
    header = (
        *(
            "Model",
            *(("Loader",) if several else ()),
            "Batch",
            "Prompt",
            "New",
            "Prefill, ms",
            "Spread",
        ),
        *("Decode, ms/token", "Spread", "Tokens/s", "Peak memory", "Weights"),
    )
    note = (
        f"Measured with {', '.join(loaders)}. Medians of repeated runs on one machine; spread: "
        "width of the 5th to 95th percentile range. Prompt and new in tokens."
    )
    return Table("inference", "Inference", header, rows, note)


def _recovery(document: Document) -> Table:
    one = document.recovery
    if one is None:
        return Table("recovery", "Recovery", (), ())
    rows = [
        (words("Source"), words(one.source)),
        (words("Sequences"), number(one.sequences, "/recovery/sequences", "whole")),
        (words("Tokens learned"), number(one.tokens, "/recovery/tokens", "whole")),
        (words("Rows held out"), number(one.held_out, "/recovery/held_out", "whole")),
        (
            words("Parameters trained"),
            number(one.trainable_parameters, "/recovery/trainable_parameters", "whole"),
        ),
        *_training(one),
        (words("Published"), words("recovered model" if one.published else "unrecovered model")),
    ]
    return Table("recovery", "Recovery", ("", ""), rows, one.left_out)


def _training(one: Recovery) -> list[tuple[Cell, ...]]:
    """How it was trained; nothing in reports of before that was kept."""
    if not one.steps:
        return []
    rows: list[tuple[Cell, ...]] = [
        (words("Steps"), number(one.steps, "/recovery/steps", "whole")),
        (words("Sequences a step"), number(one.batch_size, "/recovery/batch_size", "whole")),
        (words("Passes over the text"), derived(_passes(one), "fine")),
        (words("Learning rate"), number(one.learning_rate, "/recovery/learning_rate")),
    ]
    for index, tried in enumerate(one.probe):
        label = words(f"Held-out loss after a few steps at {tried.learning_rate:g}")
        rows.append((label, number(tried.loss, f"/recovery/probe/{index}/loss")))
    return [*rows, (words("Seconds"), number(one.seconds, "/recovery/seconds", "whole"))]


def _passes(one: Recovery) -> float | None:
    return one.steps * one.batch_size / one.sequences if one.sequences else None


def _losses(document: Document) -> Table:
    """Only steps with an evaluation; all steps would be thousands of rows."""
    curves = document.recovery.curves if document.recovery else []
    rows = []
    for index, one in enumerate(curves):
        if one.text is None and one.lessons is None:
            continue
        at = f"/recovery/curves/{index}"
        rows.append(
            (
                number(one.step, f"{at}/step", "whole"),
                number(one.train, f"{at}/train"),
                number(one.text, f"{at}/text"),
                number(one.lessons, f"{at}/lessons"),
            )
        )
    header = ("Step", "Training", "Evaluation text", "Held-out rows")
    return Table("losses", "Loss", header, rows, "Nats per token, at the evaluation steps.")


def _stages(document: Document) -> Table:
    """Table 3 of the paper: time and memory."""
    stages = dict.fromkeys((*document.seconds, *document.stage_memory_bytes))
    rows = [
        (
            words(stage),
            number(document.seconds.get(stage), f"/seconds/{pointer(stage)}", "seconds"),
            number(
                document.stage_memory_bytes.get(stage),
                f"/stage_memory_bytes/{pointer(stage)}",
                "size",
            ),
        )
        for stage in stages
    ]
    if document.peak_memory_bytes:
        peak = number(document.peak_memory_bytes, "/peak_memory_bytes", "size")
        total = sum(document.seconds.values())
        rows.append((words("total"), derived(total, "seconds"), peak))
    where = "GPU memory" if document.device.startswith("cuda") else "resident memory of the process"
    unknown = [f"{stage} {why}" for stage, why in document.seconds_unknown.items()]
    note = " ".join([f"Memory: {where}.", *([f"Time: {'; '.join(unknown)}."] if unknown else [])])
    return Table("cost", "Cost of pruning", ("Stage", "Time", "Peak memory"), rows, note)


def _bound(proof: Verified) -> float | None:
    """The bound; None in reports of versions that did not record it."""
    return proof.bound if "bound" in proof.model_fields_set else None


def _proofs(document: Document) -> Table:
    rows = [
        (
            words(one.format),
            words(one.loader),
            number(one.max_difference, f"/verified/{index}/max_difference", "fine"),
            number(_bound(one), f"/verified/{index}/bound", "fine"),
            words(one.bound_is or "–"),
            number(one.tokens, f"/verified/{index}/tokens", "whole"),
            number(one.bytes, f"/verified/{index}/bytes", "size"),
        )
        for index, one in enumerate(document.verified)
    ]
    header = (
        "Format",
        "Loaded by",
        "Largest difference",
        "Allowed",
        "Which is",
        "Tokens",
        "Weights",
    )
    note = (
        "A fresh process loaded each format and compared its logits (llama.cpp and vLLM: "
        "log-probabilities) with those of the model in memory. Allowed: the most that rounding "
        "explains in the worst case, over all logits; a difference far below it is the rule."
    )
    return Table("proof", "Verification", header, rows, note)
