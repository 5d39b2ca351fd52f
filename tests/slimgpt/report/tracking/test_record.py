"""Names that MLflow takes whatever strangers call things, and numbers that are the report's."""

from __future__ import annotations

import math
import re

from hypothesis import given
from hypothesis import strategies as st

from slimgpt.report import document
from slimgpt.report.tracking import names, record
from tests.slimgpt.report import sample


@given(st.lists(st.text(max_size=300), min_size=1, max_size=5))
def test_every_name_is_a_path_of_few_signs(parts: list[str]) -> None:
    name = names.path(*parts)
    assert 0 < len(name) <= 250
    assert re.fullmatch(r"[A-Za-z0-9_. /-]+", name)
    assert not any(part in ("", ".", "..") for part in name.split("/"))


def test_texts_that_differ_in_refused_signs_alone_stay_two_metrics() -> None:
    content = sample.report(layers=2)
    content["perplexity"] = [content["perplexity"][0] | {"text": text} for text in ("a:b", "a;b")]
    content["perplexity"][1]["dense"] = 99.5
    dense = [
        metric
        for metric in record.of(document.of(content, "x")).metrics
        if re.fullmatch(r"perplexity/a_b/128/dense.*", metric.name)
    ]
    assert len({metric.name for metric in dense}) == 2
    assert {metric.value for metric in dense} == {content["perplexity"][0]["dense"], 99.5}


def test_what_is_not_finite_is_named_and_is_no_metric() -> None:
    content = sample.report(layers=2)
    content["perplexity"][0]["pruned"] = math.inf
    content["drift"][0]["stream"] = math.nan
    made = record.of(document.of(content, "x"))
    assert all(math.isfinite(metric.value) for metric in made.metrics)
    lost = made.tags[record.NOT_FINITE]
    assert "drift/pruned/stream" in lost
    assert "128/pruned" in lost


def test_long_values_are_cut_and_say_so() -> None:
    content = sample.report(layers=2)
    content["spec"]["schedule"] = {"ratios": [0.25] * 5000}
    content["warnings"] = ["w" * 9000]
    made = record.of(document.of(content, "x"))
    assert len(made.parameters["schedule.ratios"]) == 6000
    assert made.parameters["schedule.ratios"].endswith("…")
    assert len(made.tags["slimgpt.warnings"]) == 5000
