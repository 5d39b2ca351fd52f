"""Jobs with recipe `measured`: interrupted, as a sweep, and planned again from their curves."""

from __future__ import annotations

from pathlib import Path

import pytest

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.errors import SpecError
from slimgpt.events import LayerFinished, Progress
from slimgpt.pipeline import run
from slimgpt.planning import forecast
from slimgpt.planning.damage import FILE, Damage
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import PruneSpec
from tests.slimgpt.test_pipeline import (
    finish,
    of_type,
    prune_layers,
    roots,  # noqa: F401 - a fixture
    spec,
    weights,
)
from tests.slimgpt.tiny import Tiny

MODEL = Tiny("llama", tokenizer=True, kv_heads=4, heads=8, channels=96)
SURVEY = "survey of the dense model"


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
    with pytest.raises(SpecError, match="model of other sizes"):
        forecast.make(
            Checkpoint.open(other.save(tmp_path / "other")), spec(recipe="measured"), curves
        )
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(SpecError, match="no damage curves"):
        Damage.read(tmp_path / FILE)


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
        ({"recipe": "measured", "method": "flap"}, "recipe `measured` goes with method `slimgpt`"),
        ({"residual_target": 0.5, "method": "magnitude"}, "`residual_target` goes with method"),
        ({"head_unit": "mixed"}, "head_unit `mixed` goes with schedule `measured`"),
        ({"schedule": {"shape": "measured"}, "method": "wanda-sp"}, "SlimGPT's"),
        ({"schedule": {"shape": "measured", "last_ratio": 0.5}}, "takes neither"),
        ({"recipe": "measured", "formats": ["uniform"]}, "wants all layers alike"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    fields: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        PruneSpec.model_validate({"model": "local:x", "ratio": 0.2} | fields)
