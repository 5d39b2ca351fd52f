"""The API's own description keeps what it promises."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from pydantic import TypeAdapter

from api.app import create_app
from api.http.problems import MEDIA_TYPE
from api.schemas import examples
from api.schemas.jobs import JobRequest
from jobs.files.artifacts import Artifact
from jobs.settings import Settings
from jobs.store.records import Layer
from slimgpt.planning.document import PlanPreview
from slimgpt.texts.upload_checks import check_of


@pytest.fixture
def described(settings: Settings) -> dict[str, Any]:
    return create_app(settings).openapi()


def test_every_error_is_declared_as_a_problem(described: dict[str, Any]) -> None:
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            errors = {s: r for s, r in operation["responses"].items() if s >= "400"}
            assert "500" in errors, (method, path)
            if "{job_id}" in path:
                assert "404" in errors, (method, path)
            for status, response in errors.items():
                assert list(response["content"]) == [MEDIA_TYPE], (method, path, status)


def test_references_lead_somewhere(described: dict[str, Any]) -> None:
    names = set(re.findall(r"#/components/schemas/([\w.-]+)", json.dumps(described)))
    assert names <= set(described["components"]["schemas"])
    assert not names & {"HTTPValidationError", "ValidationError"}


def test_the_examples_are_valid_requests(described: dict[str, Any]) -> None:
    for example in described["components"]["schemas"]["JobRequest"]["examples"]:
        spec = JobRequest.model_validate(example).spec()
        assert spec.ratio == example.get("ratio")
        assert (spec.parameters is None) == ("parameters" not in example)
        assert (spec.memory is None) == ("memory" not in example)


def shown(node: Any, schemas: dict[str, Any]) -> bool:
    """Whether there is an example in it, or in what it refers to."""
    if isinstance(node, list):
        return any(shown(part, schemas) for part in node)
    if not isinstance(node, dict):
        return False
    name = node.get("$ref", "").rpartition("/")[2]
    parts = [schemas.get(name), *node.values()]
    return bool({"example", "examples"} & set(node)) or shown(parts, schemas)


def test_every_operation_shows_what_goes_in_and_comes_out(described: dict[str, Any]) -> None:
    schemas = described["components"]["schemas"]
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            told = [operation["requestBody"]] if "requestBody" in operation else []
            told += [p for p in operation.get("parameters", ()) if p["in"] == "path"]
            answers = operation["responses"].values()
            told += [a for a in answers if "application/json" in a.get("content", {})]
            for part in told:
                assert shown(part, schemas), (method, path, part)


@pytest.mark.parametrize(
    ("kind", "example"),
    [
        (PlanPreview, examples.PLAN),
        (Layer, examples.LAYER),
        (Artifact, examples.ARTIFACT),
    ],
)
def test_the_examples_are_what_the_api_answers(kind: Any, example: Any) -> None:
    TypeAdapter(kind).validate_python(example, strict=False)


def test_an_uploaded_example_is_taken() -> None:
    check = check_of("jsonl")
    check.feed(examples.JSON_LINES.encode())
    assert check.finish() == 2
