"""The reference names everything that the code has."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from api.http.problem_kinds import KINDS
from api.middleware.metrics import HttpMetrics
from cli.main import app
from jobs.settings import PREFIX, Settings
from manual.reference import api, commands, errors, events, metrics, report, settings
from slimgpt import events as told
from slimgpt.report.document import ReportError
from tests.cli.test_main import commands as of_the_program
from worker import metrics as of_worker
from worker.housekeeping import metrics as of_reaper

ROOT = Path(__file__).resolve().parent.parent.parent


def links(page: str) -> set[str]:
    """Anchors of the page that it links to."""
    return set(re.findall(r"\(#([\w-]+)\)", page))


def anchors(page: str) -> set[str]:
    """Anchors that its headings have."""
    return set(re.findall(r"\{ #([\w-]+) \}", page))


def test_every_operation_and_every_schema_of_the_api() -> None:
    described, page = api.document(), api.page()
    for path, operations in described["paths"].items():
        for method in operations:
            assert f"### `{method.upper()} {path}`" in page
    assert links(page) <= anchors(page)
    assert '"model": ' in page  # an example of a request


def test_every_setting_with_its_meaning() -> None:
    rows = [line.split(" | ") for line in settings.page().splitlines() if line.startswith("| `")]
    assert [row[0] for row in rows] == [
        f"| `{PREFIX}{name.upper()}`" for name in Settings.model_fields
    ]
    assert [row[0] for row in rows if not row[3].strip(" |")] == []
    assert str(Path.home()) not in settings.page()


def test_every_command_with_every_option() -> None:
    """As the commands' own help prints them."""
    page = commands.page()
    for words, _ in of_the_program():
        path = " ".join(("slimgpt", *words))
        _, _, section = page.partition(f"# {path} {{")
        printed = CliRunner().invoke(app, [*words, "--help"]).stdout
        named = set(re.findall(r"--[a-z][a-z-]+", printed)) - {"--help"}
        described = set(re.findall(r"--[a-z][a-z-]+", section.partition("\n## ")[0]))
        assert section, path
        assert named <= described, path


def test_every_event_with_every_field() -> None:
    page = events.page()
    for name in ("layer_finished", "result", "failed", "verified"):
        assert f"## `{name}`" in page
    for field in told.LayerFinished.model_fields:
        assert f"| `{field}` |" in page
    assert links(page) <= anchors(page)


def test_every_field_of_the_report() -> None:
    schema = json.loads((ROOT / "docs" / "report-schema.json").read_text(encoding="utf-8"))
    page = report.page(ROOT)
    for part in schema["$defs"].values():
        for field in part.get("properties", {}):
            assert f"| `{field}` |" in page, field


def test_every_code_with_what_to_do() -> None:
    page = errors.page(ROOT)
    assert [name for name in KINDS if f"### `{name}`" not in page] == []
    codes = errors.failure_codes()
    found = {cause.code for cause in errors.causes(ROOT)}
    known = of_worker.KNOWN_CODES - {ReportError.code}  # no job fails with it
    assert set(codes) == {*known, *found, "worker-lost"}
    assert [name for name, said in codes.items() if not said] == []
    assert {"calibration-error", "numerical-error", "engine-killed", "publish-failed"} <= found
    assert "use more calibration tokens or a larger damping" in page


def test_every_metric_as_it_is_exposed() -> None:
    registry = CollectorRegistry()
    HttpMetrics(registry)
    exposed = {
        metric.name
        for source in (registry, of_worker.REGISTRY, of_reaper.REGISTRY)
        for metric in source.collect()
        if metric.name.startswith("slimgpt_")
    }
    named = {re.sub("_(total|info)$", "", found.name) for found in metrics.definitions(ROOT)}
    assert exposed <= named
    assert {"slimgpt_jobs", "slimgpt_up", "slimgpt_disk_free_bytes"} <= named


@pytest.mark.parametrize("kind", ["counter", "gauge", "histogram"])
def test_metrics_have_a_type(kind: str) -> None:
    assert f" | {kind} | " in metrics.page(ROOT)
