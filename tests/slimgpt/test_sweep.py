"""Jobs of several ratios: each model is what a job of its own gives, and all are compared."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from pydantic import ValidationError

from slimgpt.errors import ResumeError, UnreachableTargetError
from slimgpt.events import (
    SURVEY,
    Event,
    LayerFinished,
    Perplexity,
    Planned,
    Result,
    StageStarted,
    Warned,
)
from slimgpt.events import Progress as Counted
from slimgpt.machine.ranks import Ranks
from slimgpt.pipeline import Stages, run
from slimgpt.planning.preview import plan_preview
from slimgpt.report import document, schema, sweep
from slimgpt.report.document import ReportError
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import PruneSpec
from slimgpt.stages.state import ModelState
from tests.slimgpt.test_pipeline import SETTINGS, finish, of_type, prune_layers, roots, weights
from tests.slimgpt.tiny import Tiny

__all__ = ["roots"]

RATIOS = (0.4, 0.2)


def spec(**changes: Any) -> PruneSpec:
    return PruneSpec.model_validate({**SETTINGS, "ratio": None, "ratios": RATIOS} | changes)


def single(ratio: float, **changes: Any) -> PruneSpec:
    return spec(ratio=ratio, ratios=None, **changes)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Tiny(tokenizer=True, kv_heads=4, heads=8, channels=96).save(tmp_path / "model")


@pytest.mark.usefixtures("model")
def test_a_sweep_gives_what_a_job_for_each_ratio_gives(roots: Roots, tmp_path: Path) -> None:
    recovery = {"source": "local:text.txt", "samples": 8, "sequence_length": 32, "batch_size": 4}
    events = finish(spec(recovery=recovery), tmp_path / "work", roots)
    made = tmp_path / "work/checkpoint"
    for number, ratio in enumerate(RATIOS):
        alone = finish(single(ratio, recovery=recovery), tmp_path / f"alone-{number}", roots)
        other = tmp_path / f"alone-{number}/checkpoint"
        mine = made / f"ratio-{ratio:g}"
        assert weights(mine) == weights(other)
        (wanted,) = of_type(alone, Perplexity)
        (measured,) = [one for one in of_type(events, Perplexity) if one.point == number]
        assert measured.model_copy(update={"point": 0}) == wanted
        reports = [json.loads((folder / "report.json").read_text()) for folder in (mine, other)]
        for name in ("spec", "calibration", "model", "perplexity", "drift", "verdict"):
            assert reports[0][name] == reports[1][name], name
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["checkpoint"]
    names = sorted(path.name for path in made.iterdir())
    assert names == ["ratio-0.2", "ratio-0.4", "report.html", "report.json"]
    check_report(made, events[-1])
    check_events(events)


def check_report(made: Path, result: Event) -> None:
    """The sweep's report is valid, and its numbers are those of its models' own reports."""
    assert isinstance(result, Result)
    told = json.loads((made / "report.json").read_text())
    jsonschema.validate(told, schema.schema())
    assert [point["ratio"] for point in told["points"]] == list(RATIOS)
    for point, said in zip(told["points"], result.points, strict=True):
        own = json.loads((made / point["folder"] / "report.json").read_text())
        assert point["folder"] == said.folder
        assert said.parameters_after == own["model"]["parameters_after"]
        assert point["report"]["perplexity"] == own["perplexity"]
        assert not any("kept_channels" in layer for layer in point["report"]["layers"])
        assert all("kept_channels" in layer for layer in own["layers"])
    read = sweep.read(made)
    assert [entry.name for entry in read.entries()] == ["ratio-0.4", "ratio-0.2"]
    assert read.verdict in (made / "report.html").read_text()
    with pytest.raises(ReportError, match="several models"):
        document.read(made)


def check_events(events: list[Event]) -> None:
    """Each stage comes once; what is counted never falls and is complete in the end."""
    stages = [event.stage for event in of_type(events, StageStarted)]
    assert stages == ["start", "resolve", "plan", "prune", "recover", "evaluate", "verify"]
    (planned,) = of_type(events, Planned)
    assert [point.ratio for point in planned.points] == list(RATIOS)
    layers = of_type(events, LayerFinished)
    assert [(one.point, one.layer) for one in layers] == [(p, i) for p in (0, 1) for i in range(3)]
    assert [one.done for one in layers] == [1, 2, 3, 4, 5, 6]
    assert {one.layers_total for one in layers} == {6} == {planned.layers}
    for stage in ("evaluate", "verify"):
        shares = [one.done / one.total for one in of_type(events, Counted) if one.stage == stage]
        assert shares == sorted(shares)
        assert shares[-1] <= 1
    named = [one.what for one in of_type(events, Counted) if "dense" in one.what]
    assert named
    # The dense model is tried once, and surveyed once for all.
    assert all(what == SURVEY or what.startswith("ratio 0.4") for what in named)


@pytest.mark.usefixtures("model")
def test_an_interrupted_sweep_goes_on_to_the_same_bytes(roots: Roots, tmp_path: Path) -> None:
    prune_layers(run(spec(), tmp_path / "whole", roots, "cpu"), 6)
    prune_layers(run(spec(), tmp_path / "work", roots, "cpu"), 4)
    with pytest.raises(ResumeError):
        finish(spec(), tmp_path / "work", roots)
    layers = prune_layers(run(spec(), tmp_path / "work", roots, "cpu", resume=True), 6)
    assert [layer.resumed for layer in layers] == [True] * 4 + [False] * 2
    for point in ("p0", "p1"):
        one, other = (tmp_path / name / "layers" / point for name in ("work", "whole"))
        assert len(weights(one)) == 3
        assert weights(one) == weights(other)


@pytest.mark.usefixtures("model")
def test_a_plan_says_what_is_left_of_each(roots: Roots) -> None:
    preview = plan_preview(spec(), roots)
    alone = [plan_preview(single(ratio), roots) for ratio in RATIOS]
    assert [point.parameters_after for point in preview.points] == [
        one.parameters_after for one in alone
    ]
    assert [point.bytes_after for point in preview.points] == [one.bytes_after for one in alone]
    assert preview.model_copy(update={"points": []}) == alone[0]  # the smallest


@pytest.mark.usefixtures("model")
def test_a_ratio_out_of_reach_is_refused_before_any_text_is_read(
    roots: Roots, tmp_path: Path
) -> None:
    job = spec(ratios=[0.2, 0.97], calibration={"source": "local:absent.txt"})
    with pytest.raises(UnreachableTargetError, match=r"0\.97"):
        finish(job, tmp_path / "work", roots)


def test_warnings_name_the_ratio_and_stand_in_its_own_report() -> None:
    points = [ModelState(point, Ranks(torch.device("cpu"))) for point in spec().points]

    def warn(point: ModelState) -> Generator[Event, None, None]:
        yield Warned(message=f"as for {point.spec.ratio}", layer=1)

    told = [event.message for event in Stages(points).each("prune", warn)
            if isinstance(event, Warned)]  # fmt: skip
    assert told == ["ratio 0.4: as for 0.4", "ratio 0.2: as for 0.2"]
    assert [point.warnings for point in points] == [
        ["layer 1: as for 0.4"],
        ["layer 1: as for 0.2"],
    ]
    assert all("prune" in point.seconds for point in points)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ratios": [0.2]}, "at least 2"),
        ({"ratios": [0.2, 0.3, 0.2]}, "0.2 more than once"),
        ({"ratios": [0.2, 1.0]}, "less than 1"),
        ({"ratio": 0.2}, "exactly one"),
        ({"ratios": [n / 100 for n in range(17)]}, "at most 16"),
    ],
)
def test_ratios_that_make_no_sweep_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        spec(**changes)
