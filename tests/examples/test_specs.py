"""The specifications of the paper's models give models of the sizes that the paper published."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from api.schemas.jobs import JobRequest
from slimgpt.planning.document import PlanPreview
from slimgpt.planning.preview import plan_preview
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import PruneSpec
from slimgpt.spec.sizes import short_count

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CONFIGS = EXAMPLES / "configs"
PAGE = EXAMPLES.parent / "docs/paper-models.md"
ROOTS = Roots(CONFIGS, CONFIGS)
SPECS = {file.stem: file for file in sorted((EXAMPLES / "specs").glob("*.json"))}
MODELS = sorted(folder.name for folder in CONFIGS.iterdir())

# arXiv 2412.18110: tables 1, 2, 8, 9 and 11, column #Params, in billions.
PUBLISHED = {
    "llama-7b-20": 5.4,
    "llama-7b-25": 5.0,
    "llama-7b-33": 4.5,
    "llama-7b-50": 3.4,
    "llama-13b-20": 10.4,
    "llama-13b-50": 6.5,
    "llama-30b-20": 26.0,
    "llama-30b-50": 16.3,
    "vicuna-7b-20": 5.4,
    "vicuna-7b-50": 3.4,
    "llama-2-7b-20": 5.4,
    "baichuan-7b-20": 5.7,
}
# Table 13's 6.7B and 5.4B are a LLaMA's; this Mistral has 7.24B.
BY_RATIO = {"mistral-7b-instruct-v0.2-20": 0.2}
# What the share in the column Prune% leaves is further from #Params than its last digit here.
ROUNDED = {"llama-7b-25": 5.054, "baichuan-7b-20": 5.600}


def spec(name: str) -> PruneSpec:
    return PruneSpec.model_validate_json(SPECS[name].read_text())


def split(name: str) -> tuple[str, float]:
    model, _, percent = name.rpartition("-")
    return model, int(percent) / 100


def planned(name: str, **target: Any) -> PlanPreview:
    values = json.loads(SPECS[name].read_text()) | {"model": f"local:{split(name)[0]}"}
    if target:
        values = {key: v for key, v in values.items() if key not in ("parameters", "ratio")}
    return plan_preview(PruneSpec.model_validate(values | target), ROOTS)


def test_every_row_of_the_paper_has_a_specification() -> None:
    assert set(SPECS) == {*PUBLISHED, *BY_RATIO}
    assert {split(name)[0] for name in SPECS} == set(MODELS)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_plan_gives_the_published_count(name: str) -> None:
    plan = planned(name)
    assert plan.parameters_after == pytest.approx(PUBLISHED[name] * 1e9, rel=0.01)
    assert plan.ratio_achieved == pytest.approx(split(name)[1], abs=0.015)
    assert len(plan.warnings) == 1  # that there are no weights: every sequence fits


@pytest.mark.parametrize("name", SPECS)
def test_the_papers_share_is_of_all_parameters(name: str) -> None:
    plan = planned(name, ratio=split(name)[1])
    left = plan.parameters_before * (1 - split(name)[1])
    assert plan.parameters_after == pytest.approx(left, rel=0.002)
    if name in ROUNDED:
        assert plan.parameters_after == pytest.approx(ROUNDED[name] * 1e9, rel=0.002)
    elif name in PUBLISHED:
        assert plan.parameters_after == pytest.approx(PUBLISHED[name] * 1e9, rel=0.01)
    else:
        assert plan.parameters_after == planned(name).parameters_after


@pytest.mark.parametrize("name", SPECS)
def test_the_settings_are_the_papers(name: str) -> None:
    made = spec(name)
    assert JobRequest.model_validate_json(SPECS[name].read_text()).spec() == made  # for `submit`
    texts = made.calibration
    assert (texts.source, texts.samples, texts.sequence_length) == ("c4", 256, 2048)
    assert (made.method, made.schedule.shape) == ("slimgpt", "log")
    assert (made.head_score, made.group_size) == ("grouped_cholesky", "dynamic")
    tuned = made.recovery
    assert tuned is not None
    assert (tuned.method, tuned.source, tuned.epochs) == ("lora", "alpaca", 1)
    assert (tuned.learning_rate, tuned.batch_size, tuned.sequence_length) == (1e-4, 64, 256)
    assert (made.evaluation.texts, made.evaluation.sequence_lengths) == (("wikitext2",), (128,))
    assert texts.bos == made.evaluation.bos == "none"  # windows are cut from the text as they come


@pytest.mark.parametrize("model", MODELS)
def test_the_config_has_as_many_parameters_as_transformers_builds(model: str) -> None:
    values = json.loads((CONFIGS / model / "config.json").read_text())
    kind = "llama" if values["model_type"] == "baichuan" else values["model_type"]
    kept = {key: v for key, v in values.items() if key not in ("model_type", "auto_map")}
    with torch.device("meta"):
        built = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **kept))
    name = next(name for name in SPECS if split(name)[0] == model)
    assert planned(name).parameters_before == sum(p.numel() for p in built.parameters())


def test_the_page_has_the_same_numbers() -> None:
    rows = re.findall(
        r"^\| `(\S+)` \| `(\S+)` \| (\S+) \| \S+ \| (\S+) \| (\S+)% \|", PAGE.read_text(), re.M
    )
    assert sorted(row[0] for row in rows) == sorted(SPECS)
    for name, model, before, after, removed in rows:
        plan = planned(name)
        assert model == spec(name).model
        assert before == short_count(plan.parameters_before)
        assert after == short_count(plan.parameters_after)
        assert removed == f"{100 * plan.ratio_achieved:.1f}"
