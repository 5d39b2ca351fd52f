"""The page of the metrics, from the places in the code that define them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from manual.markdown import code, table

PACKAGES = ("api", "jobs", "worker")
KINDS = {
    "Counter": "counter",
    "Gauge": "gauge",
    "Histogram": "histogram",
    "Info": "info",
    "GaugeMetricFamily": "gauge",
    "CounterMetricFamily": "counter",
}
HEAD = """# Metrics

What the processes expose to Prometheus. Where to scrape, how to aggregate over processes, the
dashboard and the alerts: [monitoring](../monitoring.md); what to do when an alert fires:
[runbooks](../runbooks.md). Python's `process_` metrics are exposed too.

"""


@dataclass(frozen=True)
class Definition:
    """One metric as the code defines it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str
    file: str


def page(root: Path) -> str:
    """The page, in Markdown.

    Args:
        root: of the repository.
    """
    rows = [
        (
            code(found.name + ("{" + ",".join(found.labels) + "}" if found.labels else "")),
            found.kind,
            found.help,
            f"[`{found.file}`](../../{found.file})",
        )
        for found in sorted(definitions(root), key=lambda found: found.name)
    ]
    return HEAD + table(("metric", "type", "meaning", "defined in"), rows)


def definitions(root: Path) -> Iterator[Definition]:
    """Every metric of the service, with the name that Prometheus stores."""
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            file = path.relative_to(root).as_posix()
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    yield from _definition(node, file)


def _definition(call: ast.Call, file: str) -> Iterator[Definition]:
    kind = KINDS.get(call.func.id if isinstance(call.func, ast.Name) else "")
    constants = [_constant(argument) for argument in call.args]
    if kind and constants and isinstance(constants[0], str):
        name, said = constants[0], constants[1] if len(constants) > 1 else ""
        labels = constants[2] if len(constants) > 2 else ()
        for keyword in call.keywords:
            if keyword.arg in ("labels", "labelnames"):
                labels = _constant(keyword.value)
        if kind == "counter" and not name.endswith("_total"):
            name += "_total"
        if kind == "info":
            name += "_info"
        names = tuple(map(str, labels)) if isinstance(labels, list | tuple) else ()
        yield Definition(name, kind, names, str(said), file)


def _constant(node: ast.expr) -> object:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None
