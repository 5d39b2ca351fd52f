"""Reports of other versions are read; what is no report is said to be none. The schema is true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from slimgpt.report import document, html_page, schema
from tests.slimgpt.report.sample import report, write

ROOT = Path(__file__).resolve().parents[3]
PUBLISHED = ROOT / "docs" / "report-schema.json"


def test_the_published_schema_is_the_reports_own() -> None:
    again = "python -m slimgpt.report.schema > docs/report-schema.json"
    assert PUBLISHED.read_text(encoding="utf-8") == schema.schema_text(), again


def test_the_schema_takes_what_the_sample_says_and_refuses_other_types() -> None:
    made = schema.schema()
    jsonschema.Draft202012Validator.check_schema(made)
    validator = jsonschema.Draft202012Validator(made)
    content = report(2)
    # The engine writes a specification whole.
    content["spec"] = made_spec(content["spec"])
    validator.validate(content)
    for place, wrong in (("verdict", 7), ("layers", [{}]), ("perplexity", [{"text": "c4"}])):
        assert not validator.is_valid(content | {place: wrong}), place


def made_spec(given: dict[str, Any]) -> Any:
    from slimgpt.spec.prune import PruneSpec

    return PruneSpec.model_validate(given).model_dump(mode="json")


def test_a_report_of_version_1_is_read(tmp_path: Path) -> None:
    content = report(2)
    later = ("verdict", "recovery", "tasks", "inference", "drift", "stage_memory_bytes")
    old = {name: value for name, value in content.items() if name not in later}
    read = document.read(write(tmp_path, old | {"schema_version": 1}))
    assert (read.verdict, read.recovery, read.published) == ("", None, "pruned")
    assert read.perplexity[0].pruned == content["perplexity"][0]["pruned"]
    assert "schema 1" in html_page.render(read)


def test_a_report_of_a_later_version_is_read_as_far_as_it_is_known(tmp_path: Path) -> None:
    content = report(2) | {"schema_version": 99, "unheard_of": {"a": 1}}
    content["layers"][0]["unheard_of"] = True
    read = document.read(write(tmp_path, content))
    assert read.newer
    assert "some fields may not be shown" in html_page.render(read)


@pytest.mark.parametrize("place", [".", "report.json", ".."])
def test_a_report_is_found_in_a_checkpoint_a_work_folder_or_by_its_name(
    place: str, tmp_path: Path
) -> None:
    told = write(tmp_path / "checkpoint", report(1))
    assert document.find(told / place) in (told / "report.json", told / "../checkpoint/report.json")
    assert document.read(told / place).model.model == "org/model-7b"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not JSON"),
        ("[1]", "is not a JSON object"),
        ("[" * 100_000, "is not JSON"),
        ("{}", "is not a report: model"),
        (json.dumps(report(1) | {"layers": [{"layer": "x"}]}), "is not a report: layers.0"),
    ],
)
def test_what_is_no_report_is_said_to_be_none(content: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text(content)
    with pytest.raises(document.ReportError, match=said):
        document.read(file)


def test_where_there_is_no_report_what_to_name_is_said(tmp_path: Path) -> None:
    with pytest.raises(document.ReportError, match=r"contains no report.json; name a published"):
        document.read(tmp_path)
    with pytest.raises(document.ReportError, match="No such file"):
        document.read(tmp_path / "none.json")
