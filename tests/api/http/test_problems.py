"""Every refusal is a problem document, and none tells what is the server's own business."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from api.app import MAX_BODY_BYTES, create_app
from api.http.problem_kinds import KINDS
from api.http.problems import MEDIA_TYPE, Problem, document
from jobs.settings import Settings
from tests.api.conftest import BODY

JSON = {"Content-Type": "application/json"}


def problem(answer: Any, kind: str) -> dict[str, Any]:
    """The document, after what holds for each was checked."""
    document: dict[str, Any] = answer.json()
    assert answer.headers["Content-Type"] == MEDIA_TYPE
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert document["type"] == f"/problems/{kind}"
    assert document["status"] == answer.status_code == KINDS[kind].status
    assert document["title"] == KINDS[kind].title
    assert document["detail"]
    return document


REQUESTS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("not-found", "GET", "/nothing/here", {}),
    ("not-found", "GET", "/jobs/", {}),
    ("not-found", "GET", "/problems/none", {}),
    ("not-found", "GET", "/static-offline-docs/none.js", {}),
    ("job-not-found", "GET", "/jobs/job_00000000000000000000000000", {}),
    ("job-not-found", "GET", "/jobs/job_00000000000000000000000000/status", {}),
    ("job-not-found", "GET", "/jobs/%00", {}),
    ("job-not-found", "GET", "/jobs/" + "x" * 5000, {}),
    ("job-not-found", "GET", "/jobs/%F0%9F%A6%99/artifacts/x", {}),
    ("job-not-found", "POST", "/jobs/nope/cancel", {}),
    ("method-not-allowed", "DELETE", "/jobs", {}),
    ("method-not-allowed", "POST", "/healthz", {}),
    ("malformed-request", "POST", "/jobs", {"content": "{", "headers": JSON}),
    ("malformed-request", "POST", "/jobs", {"content": b'{"model":"\xff"}', "headers": JSON}),
    ("malformed-request", "POST", "/jobs", {"content": "[" * 100_000, "headers": JSON}),
    ("malformed-request", "POST", "/jobs", {"content": "9" * 5_000, "headers": JSON}),
    ("not-json", "POST", "/jobs", {"content": json.dumps(BODY)}),
    ("not-json", "POST", "/jobs", {"data": {"model": "local:tiny"}}),
    ("body-too-large", "POST", "/jobs", {"content": b" " * (MAX_BODY_BYTES + 1), "headers": JSON}),
    ("invalid-request", "POST", "/jobs", {"content": "", "headers": JSON}),
    ("invalid-request", "POST", "/jobs", {"json": [1, 2]}),
    ("invalid-request", "POST", "/jobs", {"json": BODY, "headers": {"Idempotency-Key": "a b"}}),
    ("invalid-request", "GET", "/jobs?limit=0", {}),
    ("invalid-request", "GET", "/jobs?limit=many", {}),
    ("invalid-request", "GET", "/jobs?status=asleep", {}),
    ("invalid-request", "GET", "/jobs?cursor=%22", {}),
    ("invalid-request", "GET", "/jobs?cursor=am9iXwA", {}),  # "job_" and a NUL
]


@pytest.mark.parametrize(("kind", "method", "path", "options"), REQUESTS)
def test_refusals_are_problem_documents(
    api: httpx.Client, kind: str, method: str, path: str, options: dict[str, Any]
) -> None:
    document = problem(api.request(method, path, **options), kind)
    explained = api.get(document["type"]).json()
    assert (explained["title"], explained["remedy"]) == (KINDS[kind].title, KINDS[kind].remedy)


def test_a_streamed_body_is_cut_at_the_cap(api: httpx.Client) -> None:
    """Without Content-Length, what comes is counted."""
    chunks = (b" " * 65536 for _ in range(MAX_BODY_BYTES // 65536 + 1))
    problem(api.post("/jobs", content=chunks, headers=JSON), "body-too-large")


def test_method_not_allowed_names_the_methods_that_are(api: httpx.Client) -> None:
    assert "GET" in api.post("/healthz").headers["Allow"]


BODIES: list[tuple[dict[str, Any], str, str]] = [
    ({"ratio": 0.25}, "/model", "required"),
    ({**BODY, "ratio": "a lot"}, "/ratio", "number"),
    ({**BODY, "ratio": 1.0}, "/ratio", "less than 1"),
    ({**BODY, "ratio": 30}, "/ratio", "a ratio is a share of 1, 0.3 removes 30%"),
    ({**BODY, "ratio": -0.1}, "/ratio", "greater than or equal to 0"),
    ({**BODY, "model": "no-slash"}, "/model", "not a model"),
    ({**BODY, "model": "local:../up"}, "/model", "not a model"),
    ({**BODY, "model": "local:none"}, "/model", "no model folder 'none'"),
    ({**BODY, "method": "magic"}, "/method", "slimgpt"),
    ({**BODY, "speed": "high"}, "/speed", "unknown field"),
    ({**BODY, "schedule": {"shape": "zigzag"}}, "/schedule/shape", "'log'"),
    ({**BODY, "schedule": {"shape": "explicit"}}, "/schedule", "ratios"),
    ({**BODY, "calibration": {"source": "http://x"}}, "/calibration/source", "unknown text"),
    ({**BODY, "calibration": {"source": "local:no.txt"}}, "/calibration/source", "no text file"),
    ({**BODY, "evaluation": {"texts": ["c4", "local:no"]}}, "/evaluation/texts/1", "no text file"),
    ({**BODY, "group_size": "big"}, "/group_size", "dynamic"),
    ({**BODY, "metadata": {"a": 1}}, "/metadata/a", "string"),
    ({**BODY, "metadata": {"a": "x" * 513}}, "/metadata/a", "512"),
    ({**BODY, "metadata": {f"k{i}": "" for i in range(33)}}, "/metadata", "32"),
    ({**BODY, "metadata": {"a": "\0"}}, "", "U+0000"),
]


@pytest.mark.parametrize(("body", "pointer", "words"), BODIES)
def test_errors_point_at_the_field_and_say_what_is_wrong(
    api: httpx.Client, body: dict[str, Any], pointer: str, words: str
) -> None:
    document = problem(api.post("/jobs", json=body), "invalid-request")
    assert [error["pointer"] for error in document["errors"]] == [pointer]
    assert words in document["errors"][0]["message"]
    assert words in document["detail"]
    assert document["errors"][0]["location"] == "body"


def test_many_errors_are_reported_together(api: httpx.Client) -> None:
    body = {"model": "x", "ratio": 2, "method": "y", "seed": 1, "damping": 0}
    document = problem(api.post("/jobs", json=body), "invalid-request")
    pointers = {error["pointer"] for error in document["errors"]}
    assert pointers == {"/model", "/ratio", "/method", "/seed", "/damping"}


def test_nan_is_refused_as_a_value(api: httpx.Client) -> None:
    content = json.dumps({**BODY, "ratio": float("nan")})
    document = problem(api.post("/jobs", content=content, headers=JSON), "invalid-request")
    assert document["errors"][0]["pointer"] == "/ratio"


@pytest.fixture
def broken(settings: Settings) -> Iterator[TestClient]:
    """An application whose store raises what real ones raise when things are bad."""
    app = create_app(settings)

    @app.get("/bug")
    def bug() -> None:
        raise RuntimeError("secret at /very/private/path")

    @app.get("/database-lost")
    def database_lost() -> None:
        raise OperationalError("SELECT secret", {}, Exception("password=hunter2"))

    with TestClient(
        app, "http://127.0.0.1", raise_server_exceptions=False, client=("127.0.0.1", 50000)
    ) as client:
        yield client


def test_a_bug_says_nothing_but_a_reference(broken: TestClient) -> None:
    answer = broken.get("/bug")
    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == MEDIA_TYPE
    assert answer.json()["reference"] in answer.json()["detail"]
    assert "private" not in answer.text
    assert answer.headers["X-Request-ID"] == answer.json()["request_id"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("kind", [name for name, k in KINDS.items() if k.status in (429, 503)])
def test_who_is_told_to_wait_is_told_how_long(kind: str) -> None:
    assert int(document("/", Problem(kind, "not now")).headers["Retry-After"]) > 0
    given = Problem(kind, "not now", headers={"Retry-After": "7"})
    assert document("/", given).headers.getlist("Retry-After") == ["7"]


def test_a_lost_database_is_unavailable_not_a_bug(broken: TestClient) -> None:
    answer = broken.get("/database-lost")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json()["type"] == "/problems/unavailable"
    assert "secret" not in answer.text
    assert "hunter2" not in answer.text


@pytest.mark.parametrize("path", ["/docs", "/jobs", "/nothing"])
def test_no_answer_shows_in_another_sites_page(api: httpx.Client, path: str) -> None:
    """Where no key is asked for, a visitor could be led to press buttons of /docs."""
    assert api.get(path).headers["X-Frame-Options"] == "DENY"


def test_errors_never_name_a_folder_of_the_server(api: httpx.Client, settings: Settings) -> None:
    bodies = [body for body, _, _ in BODIES]
    answers = [api.post("/jobs", json=body).text for body in bodies]
    answers += [api.request(method, path, **o).text for _, method, path, o in REQUESTS]
    assert str(settings.home) not in "".join(answers)
