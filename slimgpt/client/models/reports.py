"""Plans and reports: the engine's documents, shown as tables."""

from __future__ import annotations

from typing import Any

from slimgpt.client.models.base import Model, Rows, Shown
from slimgpt.client.models.jobs import clock
from slimgpt.planning.document import PlanPreview
from slimgpt.report import document, sweep
from slimgpt.report.document import Document
from slimgpt.report.key_facts import facts
from slimgpt.report.sweep import Sweep
from slimgpt.spec.sizes import short_count, short_size


class TimeEstimate(Model):
    """How long a job may take in seconds, from its claim to its end, without the queue.

    Attributes:
        seconds, low, high: the median of the estimates, the shortest, the longest.
        basis: what they are from: finished jobs on the `same-model`, on `other-models`, or the
            `typical` rate of two processor cores.
        jobs: number of these jobs.
    """

    seconds: float
    low: float
    high: float
    basis: str
    jobs: int

    def __str__(self) -> str:
        return f"{clock(self.seconds)} ({clock(self.low)} to {clock(self.high)})"


class Plan(PlanPreview, Shown):
    """What a job would leave of every layer, and what it would cost; sizes in bytes.

    `points` has a sweep's models, `token_costs` what a generated token costs before and after,
    `time` an estimate, None from a service that makes none.
    """

    time: TimeEstimate | None = None

    def rows(self) -> Rows:
        """As a table."""
        header = ("layer", "heads", "KV heads", "channels", "parameters")
        rows = [
            (str(one.layer), f"{one.heads}/{one.heads_before}",
             f"{one.kv_heads}/{one.kv_heads_before}", f"{one.channels}/{one.channels_before}",
             f"{one.parameters:,}/{one.parameters_before:,}")
            for one in self.layers
        ]  # fmt: skip
        title = (
            f"{short_count(self.parameters_before)} → {short_count(self.parameters_after)} "
            f"parameters ({self.ratio_achieved:.2%} removed), {short_size(self.bytes_before)} → "
            f"{short_size(self.bytes_after)}, {short_size(self.peak_memory_bytes)} of memory"
        )
        if self.time is not None:
            title += f", estimated time {self.time}"
        return Rows(header, rows, frozenset(range(5)), title)


class Report(Document, Shown):
    """The report of one model; `raw` is the JSON object."""

    def rows(self) -> Rows:
        """As a table."""
        sizes = f"{self.model.parameters_before:,} → {self.model.parameters_after:,}"
        rows = [("Parameters", f"{sizes} ({self.model.ratio_achieved:.2%} removed)")]
        for one in self.perplexity:
            after = "" if one.recovered is None else f" → {one.recovered:.2f} recovered"
            name = f"Perplexity, {one.text}, {one.sequence_length} tokens"
            rows.append((name, f"{one.dense:.2f} dense → {one.pruned:.2f} pruned{after}"))
        return Rows((), [*rows, *facts(self)], title=self.verdict)


class SweepReport(Sweep, Shown):
    """The report of a sweep, with that of each model in `points`; `raw` is the JSON object."""

    def rows(self) -> Rows:
        """As a table."""
        header = ("ratio", "parameters", "perplexity", "verdict")
        rows = []
        for point in self.points:
            measured = point.report.perplexity[:1]
            dense = "".join(
                f"{one.dense:.2f} → {one.recovered or one.pruned:.2f}" for one in measured
            )
            size = f"{point.report.model.parameters_after:,}"
            rows.append((f"{point.ratio:g}", size, dense, point.report.verdict))
        return Rows(header, rows, frozenset({0, 1, 2}), self.verdict)


def report_of(content: Any, name: str) -> Report | SweepReport:
    """A report from its JSON, of any version.

    Raises:
        ReportError: it is not a report.
    """
    found: Report | SweepReport
    if sweep.is_one(content):
        found = document.validated(SweepReport, content, name)
    else:
        found = document.validated(Report, content, name)
    return found.model_copy(update={"raw": content})
