"""The client is held to the API's own description: every operation, parameter and field."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from inspect import signature
from operator import attrgetter
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from api.app import create_app
from jobs.settings import Settings
from slimgpt.client import AsyncClient, Client, ClientError
from slimgpt.client.errors import FieldError, Problem
from slimgpt.client.job_fields import JobFields, JobFilters
from slimgpt.client.models import (
    calibration_sets,
    engine_log,
    jobs,
    reports,
    service,
    sources,
    webhooks,
)
from slimgpt.client.models.base import Model

METHODS = {
    "post_job": "jobs.create",
    "make_plan": "jobs.plan",
    "list_jobs": "jobs.list",
    "get_job": "jobs.get",
    "get_job_status": "jobs.status",
    "get_job_layers": "jobs.layers",
    "get_job_report": "jobs.report",
    "get_job_report_page": "jobs.report_page",
    "follow_job": "jobs.stream",
    "cancel_job": "jobs.cancel",
    "retry_job": "jobs.retry",
    "delete_job": "jobs.delete",
    "list_artifacts": "jobs.artifacts",
    "download_artifact": "jobs.download",
    "upload_calibration_set": "calibration_sets.upload",
    "list_calibration_sets": "calibration_sets.list",
    "get_calibration_set": "calibration_sets.get",
    "get_calibration_text": "calibration_sets.text",
    "delete_calibration_set": "calibration_sets.delete",
    "create_webhook": "webhooks.create",
    "list_webhooks": "webhooks.list",
    "get_webhook": "webhooks.get",
    "change_webhook": "webhooks.change",
    "delete_webhook": "webhooks.delete",
    "rotate_webhook_secret": "webhooks.rotate",
    "test_webhook": "webhooks.test",
    "list_deliveries": "webhooks.deliveries",
    "get_delivery": "webhooks.delivery",
    "redeliver_delivery": "webhooks.redeliver",
    "get_engine_log": "jobs.log",
    "get_usage": "jobs.usage",
    "list_models": "models.list",
    "list_texts": "texts.list",
    "create_key": "keys.create",
    "list_keys": "keys.list",
    "revoke": "keys.revoke",
    "list_workers": "workers",
    "get_overview": "overview",
    "get_problem": "problem_kind",
}
"""The client's method for each operation."""
OF_OPERATORS = {"get_metrics", "get_health", "get_readiness"}
"""What probes and scrapers ask, which need no client."""
SCHEMAS: dict[str, type[BaseModel]] = {
    "JobView": jobs.Job,
    "JobSummaryView": jobs.JobSummary,
    "JobPage": jobs.JobPage,
    "StatusView": jobs.Status,
    "ErrorView": jobs.JobError,
    "Links": jobs.Links,
    "Layer": jobs.JobLayer,
    "Artifact": jobs.Artifact,
    "Snippet": jobs.Snippet,
    "EngineLogView": engine_log.EngineLog,
    "FoundModel": sources.FoundModel,
    "ModelPage": sources.ModelPage,
    "TextView": sources.Text,
    "TextPage": sources.TextPage,
    "KeyView": service.Key,
    "KeyWithText": service.KeyWithText,
    "KeyPage": service.KeyPage,
    "WorkerView": service.Worker,
    "Overview": service.Overview,
    "ProblemKind": service.ProblemKind,
    "Problem": Problem,
    "FieldError": FieldError,
    "PlanView": reports.Plan,
    "TimeEstimate": reports.TimeEstimate,
    "CalibrationSetView": calibration_sets.CalibrationSet,
    "CalibrationSetPage": calibration_sets.CalibrationSetPage,
    "SetLinks": calibration_sets.SetLinks,
    "WebhookView": webhooks.Webhook,
    "WebhookWithSecret": webhooks.WebhookWithSecret,
    "WebhookPage": webhooks.WebhookPage,
    "AttemptView": webhooks.Attempt,
    "DeliveryView": webhooks.Delivery,
    "DeliveryDetail": webhooks.DeliveryDetail,
    "DeliveryPage": webhooks.DeliveryPage,
}
"""The client's model for each schema of an answer."""
ANY = frozenset({"any"})


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("openapi")
    return create_app(Settings(home=home, auth="off", loopback_only=True)).openapi()


def operations(described: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and description of each operation."""
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_ids_are_readable_and_paths_have_the_version_once(described: dict[str, Any]) -> None:
    found = list(operations(described))
    ids = [operation["operationId"] for _, _, operation in found]
    assert len(ids) == len(set(ids))
    assert [name for name in ids if not re.fullmatch(r"[a-z]+(_[a-z]+)*", name)] == []
    bare = {path for path, _, operation in found if not path.startswith("/v1/")}
    assert bare == {"/metrics", "/healthz", "/readyz", "/problems/{kind}"}


def test_every_operation_has_a_method(described: dict[str, Any]) -> None:
    ids = {operation["operationId"] for _, _, operation in operations(described)}
    assert ids == set(METHODS) | OF_OPERATORS
    for one in (Client("http://127.0.0.1:1"), AsyncClient("http://127.0.0.1:1")):
        assert [name for name in METHODS.values() if not callable(attrgetter(name)(one))] == []


@pytest.mark.parametrize(("operation", "method"), METHODS.items())
def test_a_method_sends_what_is_documented(
    described: dict[str, Any], tmp_path: Path, operation: str, method: str
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("Once upon a time.")
    path, verb, documented = next(
        found for found in operations(described) if found[2]["operationId"] == operation
    )
    sent = requests_of(method, text)[-1]
    pattern = re.sub(r"\{path\}", ".+", path)
    assert re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), sent.url.path)
    assert sent.method.lower() == verb
    query = {one["name"] for one in documented.get("parameters", ()) if one["in"] == "query"}
    assert set(sent.url.params) <= query
    if method == "jobs.list":
        assert set(sent.url.params) == query  # all that can be asked for
    kinds = documented.get("requestBody", {}).get("content", {})
    declared = sent.headers.get("content-type", "").partition(";")[0]
    assert declared in kinds or (not kinds and not declared) or not sent.content


def requests_of(method: str, text: Path) -> list[httpx.Request]:
    """The requests of a call with every argument."""
    given: dict[str, Any] = {
        "jobs.create": ((), {"model": "local:m", "ratio": 0.2}),
        "jobs.plan": ((), {"model": "local:m", "ratio": 0.2}),
        "jobs.list": ((), {**dict.fromkeys(JobFilters.__annotations__, "x"), "cursor": "c"}),
        "jobs.retry": (("job_1",), {"anew": True}),
        "jobs.download": (("job_1", text.parent / "new"), {}),
        "calibration_sets.upload": ((text,), {"text_field": "text", "form": "text"}),
        "calibration_sets.list": ((), {"owner": "ada", "cursor": "c"}),
        "models.list": ((), {"cursor": "c"}),
        "texts.list": ((), {"cursor": "c"}),
        "keys.create": (("ada",), {"name": "laptop", "admin": True}),
        "keys.list": ((), {"owner": "ada", "cursor": "c"}),
        "webhooks.create": (("https://example.org",), {"events": ["job.failed"]}),
        "webhooks.list": ((), {"cursor": "c"}),
        "webhooks.change": (("wh_1",), {"enabled": True}),
        "webhooks.deliveries": (("wh_1",), {"cursor": "c"}),
        "webhooks.delivery": (("wh_1", "msg_1"), {}),
        "webhooks.redeliver": (("wh_1", "msg_1"), {}),
    }
    sent = []

    def answer(request: httpx.Request) -> httpx.Response:
        request.read()
        sent.append(request)
        item = {"path": "config.json", "size": 2, "sha256": "0" * 64}
        listed = request.url.path.endswith("/artifacts")
        return httpx.Response(200, json={"items": [item] if listed else []})

    with Client("http://127.0.0.1:1", retries=0) as client:
        client._transport._http = httpx.Client(
            base_url="http://127.0.0.1:1", transport=httpx.MockTransport(answer)
        )
        call = attrgetter(method)(client)
        needed = [
            name for name, one in signature(call).parameters.items() if one.default is one.empty
        ]
        arguments, named = given.get(
            method, (["x"] if needed and needed != ["filters"] else (), {})
        )
        try:
            answered = call(*arguments, **named)
            if method == "jobs.stream":
                next(answered)
        except (ClientError, ValueError, StopIteration):
            pass  # the answer is no such thing
    return sent


def test_a_job_has_the_fields_of_the_request(described: dict[str, Any]) -> None:
    schema = described["components"]["schemas"]["JobRequest"]
    assert set(JobFields.__annotations__) == set(schema["properties"])


@pytest.mark.parametrize(("name", "model"), SCHEMAS.items())
def test_a_model_has_the_fields_of_its_schema(
    described: dict[str, Any], name: str, model: type[BaseModel]
) -> None:
    schemas = described["components"]["schemas"]
    own = model.model_json_schema(mode="validation")
    fields = schemas[name]["properties"]
    assert set(own["properties"]) == set(fields)
    for field, schema in fields.items():
        sent = types(schema, schemas)
        taken = types(own["properties"][field], own.get("$defs", {}))
        assert sent <= taken or ANY in (sent, taken), field
    # What a service need not send, the client does without.
    assert set(own.get("required", ())) <= set(schemas[name].get("required", fields))


def test_every_schema_of_an_answer_has_a_model(described: dict[str, Any]) -> None:
    """But parts of models, whose types are compared with them."""
    of_models = {one.__name__ for one in Model.__subclasses__()}
    assert of_models <= {model.__name__ for model in SCHEMAS.values()} | {"JobSummary"}
    answers = set()
    for _, _, operation in operations(described):
        for response in operation["responses"].values():
            for content in response.get("content", {}).values():
                if "$ref" in content.get("schema", {}):
                    answers.add(content["schema"]["$ref"].rpartition("/")[2])
    lists = {
        "LayerList",
        "ArtifactList",
        "SnippetList",
        "WorkerList",
    }  # whose items are given alone
    assert answers - lists - {"Health", "Readiness"} <= set(SCHEMAS)


def types(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> frozenset[str]:
    """The types that a value may have, in JSON's terms; `any` where that is not said."""
    if "$ref" in schema:
        return types(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    parts = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if parts:
        found = [types(part, schemas) for part in parts]
        return ANY if ANY in found else frozenset().union(*found)
    if "const" in schema or "enum" in schema:
        return frozenset({"string"})
    if "type" not in schema:
        return ANY
    return frozenset({schema["type"]})
