"""Jobs with recipe `measured`: interrupted, as a sweep, and planned again from their curves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy
import pytest

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.errors import ResumeError, SpecError, UnreachableTargetError
from slimgpt.events import SURVEY, LayerFinished, Progress
from slimgpt.pipeline import run
from slimgpt.planning import forecast, plan
from slimgpt.planning.damage import FILE, Damage
from slimgpt.planning.plan import TOLERANCE
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import PruneSpec
from tests.slimgpt.test_pipeline import (
    SETTINGS,
    finish,
    of_type,
    prune_layers,
    roots,  # noqa: F401 - a fixture
    spec,
    weights,
)
from tests.slimgpt.tiny import Tiny

MODEL = Tiny("llama", tokenizer=True, kv_heads=4, heads=8, channels=96)


def surveyed(events: list[Progress]) -> int:
    return sum(event.what.endswith(SURVEY) for event in events)


@pytest.mark.parametrize("stop_after", [1, 2])
def test_a_resumed_job_gives_the_same_bytes_and_measures_once(
    stop_after: int,
    roots: Roots,  # noqa: F811
    tmp_path: Path,
) -> None:
    MODEL.save(tmp_path / "model")
    job = spec(recipe="measured")
    whole = finish(job, tmp_path / "whole", roots)
    prune_layers(run(job, tmp_path / "work", roots, "cpu"), stop_after)
    resumed = finish(job, tmp_path / "work", roots, resume=True)
    assert weights(tmp_path / "work/checkpoint") == weights(tmp_path / "whole/checkpoint")
    assert surveyed(of_type(whole, Progress)) == 4
    assert surveyed(of_type(resumed, Progress)) == 0
    assert [event.resumed for event in of_type(resumed, LayerFinished)] == [
        index < stop_after for index in range(3)
    ]


def test_a_sweep_measures_once_and_any_target_is_planned_from_its_curves(
    roots: Roots,  # noqa: F811
    tmp_path: Path,
) -> None:
    MODEL.save(tmp_path / "model")
    events = finish(
        spec(ratio=None, ratios=[0.2, 0.3], recipe="measured"), tmp_path / "work", roots
    )
    assert surveyed(of_type(events, Progress)) == 4
    counts = [one for one in of_type(events, Progress) if one.what.endswith(SURVEY)]
    assert [one.done for one in counts] == [1, 2, 3, 4]  # for both models, from the first
    assert {one.total for one in counts} == {4}
    dense = Checkpoint.open(tmp_path / "model")
    for ratio in (0.2, 0.3):
        folder = tmp_path / f"work/checkpoint/ratio-{ratio:g}"
        planned = forecast.make(
            dense, spec(ratio=ratio, recipe="measured"), Damage.read(folder / FILE)
        )
        assert planned.plan.after == Checkpoint.open(folder).architecture.sizes
        assert not planned.provisional


def test_curves_of_another_model_are_refused(roots: Roots, tmp_path: Path) -> None:  # noqa: F811
    MODEL.save(tmp_path / "model")
    finish(spec(recipe="measured"), tmp_path / "work", roots)
    curves = Damage.read(tmp_path / "work/checkpoint" / FILE)
    other = Tiny("llama", tokenizer=True, kv_heads=2, heads=8, channels=96)
    with pytest.raises(SpecError, match="model with other layer sizes"):
        forecast.make(
            Checkpoint.open(other.save(tmp_path / "other")), spec(recipe="measured"), curves
        )
    model = Checkpoint.open(tmp_path / "model")
    for changes, words in (
        ({"head_unit": "kv_group"}, "another head_unit"),
        ({"tensor_parallel": 2}, "another head_unit or tensor_parallel"),
        ({"head_unit": "kv_group", "schedule": {"shape": "log"}}, "go with schedule `measured`"),
    ):
        with pytest.raises(SpecError, match=words):
            forecast.make(model, spec(recipe="measured", **changes), curves)
    whole = curves.model_dump_json()
    for number in ("NaN", "-1.0", "Infinity"):
        (tmp_path / FILE).write_text(whole.replace('"damage":0.0', f'"damage":{number}', 1))
        with pytest.raises(SpecError, match=r"layers\.0\.attention\.0\.damage"):
            Damage.read(tmp_path / FILE)
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(SpecError, match="no damage curves"):
        Damage.read(tmp_path / FILE)


def test_curves_of_another_job_in_the_working_folder_are_refused(
    roots: Roots,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Of a model of the same sizes; damaged ones are measured again, and give the same bytes."""
    MODEL.save(tmp_path / "model")
    job, layers = spec(recipe="measured"), tmp_path / "work" / "layers"
    prune_layers(run(job, tmp_path / "work", roots, "cpu"), 1)
    own = (layers / FILE).read_bytes()
    other = spec(recipe="measured", calibration=SETTINGS["calibration"] | {"seed": 1})
    prune_layers(run(other, tmp_path / "other", roots, "cpu"), 1)
    shutil.copy(tmp_path / "other" / "layers" / FILE, layers / FILE)
    with pytest.raises(ResumeError, match="measured by another job"):
        prune_layers(run(job, tmp_path / "work", roots, "cpu", resume=True), 1)
    (layers / FILE).write_bytes(own[:100])
    prune_layers(run(job, tmp_path / "work", roots, "cpu", resume=True), 2)
    assert (layers / FILE).read_bytes() == own


def test_finished_layers_of_another_plan_are_not_gone_on_from(
    roots: Roots,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Damage that is measured again on another machine may differ, and the plan with it."""
    MODEL.save(tmp_path / "model")
    job, file = spec(recipe="measured"), tmp_path / "work" / "layers" / FILE
    prune_layers(run(job, tmp_path / "work", roots, "cpu"), 3)
    curves = json.loads(file.read_text())
    curves["layers"] = curves["layers"][::-1]
    file.write_text(json.dumps(curves))
    with pytest.raises(ResumeError, match="pruned to other sizes"):
        prune_layers(run(job, tmp_path / "work", roots, "cpu", resume=True), 3)


@pytest.mark.parametrize(
    ("model", "ratio", "unit"),
    [
        (Tiny("mixtral", tokenizer=True, heads=8, kv_heads=4, channels=96), 0.25, "mixed"),
        (Tiny("mixtral", tokenizer=True, heads=8, kv_heads=4, channels=12), 0.1, "mixed"),
        (Tiny("llama", tokenizer=True, heads=1, kv_heads=1, channels=96), 0.2, "kv_group"),
        (Tiny("llama", tokenizer=True, heads=8, kv_heads=4, channels=1), 0.02, "mixed"),
    ],
    ids=str,
)
def test_what_any_legal_sizes_reach_is_reached(
    model: Tiny,
    ratio: float,
    unit: str,
    roots: Roots,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Beyond the reach of the uniform schedule, in coarse steps, and of modules that cannot be cut;
    the oracle is every sum of what the layers may lose.
    """
    model.save(tmp_path / "model")
    job = spec(recipe="measured", ratio=ratio, head_unit=unit)
    costs = forecast.costs_of(Checkpoint.open(tmp_path / "model"), job)
    sums = {0}
    for layer in costs.layers:
        least = costs.least_multiple
        widths = {layer.size.channels, *range(least, layer.size.channels, least)}
        heads = {layer.removed(size) for size in layer.attention_levels()}
        removed = {a + (layer.size.channels - w) * layer.channel for a in heads for w in widths}
        sums = {one + more for one in sums for more in removed}
    target = round(costs.parameters * (1 - ratio))
    within = {s for s in sums if abs(costs.parameters - s - target) <= TOLERANCE * target}
    layers = run(job, tmp_path / "work", roots, "cpu")
    if within:
        prune_layers(layers, 3)
        pruned = Damage.read(tmp_path / "work" / "layers" / FILE)
        made = plan.measured(pruned, job, costs)
        assert costs.parameters - made.parameters_after in within
    else:
        with pytest.raises(UnreachableTargetError, match="cannot be met within"):
            prune_layers(layers, 3)


def test_a_narrow_ffn_is_cut_in_steps_that_suit_it(tmp_path: Path) -> None:
    """Multiples of 32 leave the plan no choice where an FFN is only three of them wide."""
    MODEL.save(tmp_path / "model")
    checkpoint = Checkpoint.open(tmp_path / "model")
    costs = forecast.costs_of(checkpoint, spec(recipe="measured"))
    curves = Damage.assumed(costs)

    def lost(multiple: int | None) -> float:
        made = plan.measured(
            curves, spec(recipe="measured", ratio=0.3, channel_multiple=multiple), costs
        )
        total = 0.0
        for size, layer in zip(made.after, curves.layers, strict=True):
            heads = (size.heads, size.kv_heads)
            total += next(
                one.damage for one in layer.attention if (one.heads, one.kv_heads) == heads
            )
            known = sorted((one.channels, one.damage) for one in layer.ffn)
            channels, damages = zip(*known, strict=True)
            total += float(numpy.interp(size.channels, channels, damages))
        return total

    assert lost(None) < 0.95 * lost(32)


@pytest.mark.parametrize(
    ("fields", "recipe", "shape", "target"),
    [
        ({}, "measured", "measured", 0.5),
        ({"recipe": None, "method": "slimgpt"}, "measured", "measured", 0.5),
        ({"head_unit": "kv_group", "formats": ["gguf"]}, "measured", "measured", 0.5),
        ({"schedule": {"shape": "log"}}, None, "log", 0.0),
        ({"schedule": {"first_ratio": 0.1}}, None, "log", 0.0),
        ({"formats": ["uniform"]}, None, "uniform", 0.0),
        ({"method": "flap"}, None, "global", 0.0),
        ({"method": "magnitude"}, None, "uniform", 0.0),
    ],
)
def test_the_default_is_what_measures_best(
    fields: dict[str, Any], recipe: str | None, shape: str, target: float
) -> None:
    made = PruneSpec.model_validate({"model": "local:x", "ratio": 0.2, **fields})
    assert (made.recipe, made.schedule.shape, made.residual_target) == (recipe, shape, target)
    assert PruneSpec.model_validate(made.model_dump()) == made  # as it is stored


def test_a_recipe_sets_what_is_not_set() -> None:
    paper = PruneSpec.model_validate({"model": "local:x", "ratio": 0.2, "recipe": "paper"})
    assert (paper.schedule.shape, paper.head_score) == ("log", "grouped_cholesky")
    own = PruneSpec.model_validate(
        {"model": "local:x", "ratio": 0.2, "recipe": "measured", "residual_target": 0.0}
    )
    assert (own.schedule.shape, own.head_unit, own.residual_target) == ("measured", "mixed", 0.0)
    assert PruneSpec.model_validate(own.model_dump(mode="json")) == own


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"recipe": "measured", "method": "flap"}, "recipe `measured` needs method `slimgpt`"),
        ({"residual_target": 0.5, "method": "magnitude"}, "`residual_target` needs method"),
        (
            {"schedule": {"shape": "log"}, "head_unit": "mixed"},
            "head_unit `mixed` needs schedule `measured`",
        ),
        (
            {"recipe": "measured", "schedule": {"shape": "log"}},
            "`mixed` of recipe `measured` needs schedule `measured`: choose",
        ),
        ({"schedule": {"shape": "measured"}, "method": "wanda-sp"}, "needs method `slimgpt`"),
        ({"schedule": {"shape": "measured", "last_ratio": 0.5}}, "takes neither"),
        ({"recipe": "measured", "formats": ["uniform"]}, "needs layers of equal size"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    fields: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        PruneSpec.model_validate({"model": "local:x", "ratio": 0.2} | fields)
