"""The API's own description keeps what it promises."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from api.app import create_app
from api.problems import MEDIA_TYPE
from api.schemas import JobRequest
from jobs.settings import Settings


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
    names = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(described)))
    assert names <= set(described["components"]["schemas"])
    assert not names & {"HTTPValidationError", "ValidationError"}


def test_the_examples_are_valid_requests(described: dict[str, Any]) -> None:
    for example in described["components"]["schemas"]["JobRequest"]["examples"]:
        spec = JobRequest.model_validate(example).spec()
        assert spec.ratio == example.get("ratio")
        assert (spec.parameters is None) == ("parameters" not in example)
        assert (spec.memory is None) == ("memory" not in example)
