"""Bodies that nobody would send in good faith: each is refused in few words, and none is a 5xx."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as drawn
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from starlette.testclient import TestClient

from api.app import MAX_BODY_BYTES, ROUTED, create_app
from api.http.validation import MAX_ERRORS
from api.middleware.json_size import LIMITS
from api.routes.operations.keys import KeyRequest
from api.schemas.jobs import MAX_METADATA_BYTES, JobRequest, RetryRequest
from api.schemas.webhooks import WebhookChange, WebhookRequest
from jobs.settings import Settings
from jobs.store.lists.summaries import MAX_SAID
from jobs.store.store import MAX_PAGE, Store
from slimgpt.events import Planned, Warned
from slimgpt.spec.planned_sizes import PlannedPoint
from slimgpt.texts.json_limits import require_within
from tests.api.conftest import BODY
from tests.api.http.test_problems import JSON, problem
from tests.api.test_contract import OUTLOOK, PEPPER, RESULT

FULL: dict[str, Any] = {
    **BODY,
    "schedule": {"shape": "explicit", "ratios": [0.1, 0.2]},
    "calibration": {"source": "c4", "samples": 8, "seed": 1, "config": "en", "text_field": "text"},
    "evaluation": {
        "texts": ["held-out", "c4"],
        "sequence_lengths": [128],
        "max_tokens": 1000,
        "inference": {"batch_sizes": [1], "repeats": 2},
        "tasks": ["mmlu", {"name": "arc_easy", "shots": 1, "limit": 5, "source": "local:a.jsonl"}],
        "tasks_source": "local:zeroshot",
    },
    "recovery": {"method": "distillation", "teacher": "org/name", "samples": 5, "alpha": 8},
    "formats": ["gguf"],
    "gguf_type": "f16",
    "group_size": 8,
    "damping": 0.5,
    "metadata": {"team": "search"},
}
HOOK = {"url": "https://93.184.215.14/hook", "events": ["job.failed"], "description": "mine"}
VALID: dict[type[BaseModel], dict[str, Any]] = {
    JobRequest: FULL,
    WebhookRequest: HOOK,
    WebhookChange: {"events": ["job.failed"], "description": "mine", "enabled": False},
    RetryRequest: {"anew": True},
    KeyRequest: {"owner": "ada"},
}
PAGE_BYTES = 4 << 20
"""Of the largest page of the largest jobs."""
NUMBERS = st.sampled_from([2**31, 2**63, 10**30, 1e308, float("inf"), float("nan"), -0.0])
NUMBERS |= st.sampled_from([-1, 1]).map(lambda sign: sign * 10**400)
TEXTS = st.text(max_size=30) | st.sampled_from("x9é").map(lambda letter: letter * 5000)
TEXTS |= st.sampled_from(
    ["", "\0", "\ud800", "uniform", "1e400", "https://xn--a/", "upload:cal_", "local:.."]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | NUMBERS | TEXTS
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(TEXTS, inside, max_size=4),
    max_leaves=8,
)


def places(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something can be put in its place."""
    yield here
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(part, (*here, key))


def changed(body: Any, place: tuple[Any, ...], value: Any) -> Any:
    """The body with another value at a place."""
    if not place:
        return value
    result = copy.deepcopy(body)
    node = result
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    return result


@st.composite
def bodies(draw: st.DrawFn, model: type[BaseModel]) -> Any:
    """A body that would be accepted, but for one or two places, or new fields, with anything."""
    body: Any = VALID[model]
    for _ in range(draw(st.integers(1, 2))):
        known = sorted(places(body), key=repr)
        fields = [(name,) for name in model.model_fields]
        body_is_object = isinstance(body, dict)
        place = draw(st.sampled_from(known + (fields if body_is_object else [])))
        body = changed(body, place, draw(ANYTHING))
    return body


def request_models() -> list[type[BaseModel]]:
    """What any route takes as its body."""
    routes = [route for module in ROUTED for route in module.router.routes]
    fields = [field for route in routes if (field := getattr(route, "body_field", None))]
    kinds = [kind for field in fields for kind in _models(field.field_info.annotation)]
    return list(dict.fromkeys(kinds))


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The model of a body, also of one that may be left out."""
    return [one for one in get_args(annotation) or (annotation,) if one is not type(None)]


def test_every_request_is_tried_here() -> None:
    assert set(request_models()) == set(VALID)
    for model, body in VALID.items():
        model.model_validate(body)


@pytest.mark.parametrize("model", VALID)
def test_any_json_is_taken_or_refused(model: type[BaseModel]) -> None:
    """Validators that come before types are checked get anything, and raise no error of theirs."""

    @given(bodies(model) | ANYTHING)
    @example({**BODY, "formats": 5})
    @example({**BODY, "formats": True})
    @example({**BODY, "method": ["slimgpt"], "formats": {"uniform": 1}})
    @drawn(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def tried(body: Any) -> None:
        try:
            made = model.model_validate(body)
        except ValidationError:
            return
        assert "Infinity" not in json.dumps(made.model_dump(mode="json"))
        assert "NaN" not in json.dumps(made.model_dump(mode="json"))

    tried()


def gap(schema: dict[str, Any]) -> str:
    """The limit that a JSON schema itself, without its parts, should say and does not."""
    if "enum" in schema or "const" in schema:
        return ""
    wanted = {
        "string": [{"maxLength"}],
        "array": [{"maxItems"}],
        "object": [{"maxProperties"}, {"propertyNames"}],
        "integer": [{"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}],
    }
    wanted["number"] = wanted["integer"]
    if schema.get("additionalProperties") is False:
        del wanted["object"]
    missing = [
        any_of for any_of in wanted.get(schema.get("type", ""), []) if not any_of & {*schema}
    ]
    return ", ".join(" or ".join(sorted(any_of)) for any_of in missing)


def unbounded(schema: dict[str, Any], defs: dict[str, Any], here: str = "") -> Iterator[str]:
    """The places of a JSON schema that say no limit."""
    if missing := gap(schema):
        yield f"{here}: no {missing}"
    if reference := schema.get("$ref"):
        yield from unbounded(defs[reference.rpartition("/")[2]], defs, here)
    parts = [part for name in ("anyOf", "oneOf", "allOf") for part in schema.get(name, ())]
    for index, part in enumerate(parts):
        yield from unbounded(part, defs, f"{here}|{index}")
    for name in ("items", "additionalProperties", "propertyNames"):
        if isinstance(part := schema.get(name), dict):
            yield from unbounded(part, defs, f"{here}/{name}")
    for name, part in schema.get("properties", {}).items():
        yield from unbounded(part, defs, f"{here}/{name}")


@pytest.mark.parametrize("model", VALID)
def test_every_part_of_a_body_has_a_bound(model: type[BaseModel]) -> None:
    schema = model.model_json_schema()
    assert list(unbounded(schema, schema.get("$defs", {}))) == []


@pytest.fixture
def local(settings: Settings) -> Iterator[TestClient]:
    """A client of a service whose engine plans anything at once."""
    (settings.models_root / "tiny").mkdir()
    (settings.models_root / "tiny" / "config.json").write_text("{}")
    (settings.texts_root / "zeroshot").mkdir()
    (settings.texts_root / "a.jsonl").write_text('"a"')
    plan = (sys.executable, "-S", "-c", f"print({json.dumps(json.dumps(OUTLOOK))})")
    more = {"engine_command": plan, "key_pepper": PEPPER, "max_webhooks": 10**6}
    app = create_app(Settings(**settings.model_dump() | more | {"max_active_jobs": 10**6}))
    with TestClient(app, "http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        yield client


@pytest.fixture
def finished_job(local: TestClient, own_store: Store) -> str:
    """A succeeded job with much to tell."""
    job_id = str(local.post("/jobs", json=BODY).json()["id"])
    assert own_store.claim(job_id, "tester") is not None
    result = RESULT.model_dump() | {
        "layers": [{"kept": list(range(8192))}] * 32,
        "perplexity": [{"text": "c4", "dense": 1.5}] * 64,
    }
    assert own_store.finish(job_id, 1, prefix=f"jobs/{job_id}/1", result=result, report={})
    return job_id


ADDRESSES: dict[str, type[BaseModel]] = {
    "/jobs": JobRequest,
    "/plans": JobRequest,
    "/webhooks": WebhookRequest,
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_body_is_an_error_of_the_service(local: TestClient, address: str) -> None:
    """The client raises what the application would answer with 500."""

    @given(bodies(ADDRESSES[address]))
    @drawn(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def tried(body: Any) -> None:
        answer = local.post(address, content=json.dumps(body), headers=JSON)
        assert answer.status_code in (201, 202, 200, 400, 413, 422), answer.text
        assert len(answer.content) < 100_000

    tried()


M = MAX_BODY_BYTES
EXCESSIVE: dict[str, tuple[str, bytes]] = {
    "items that are no formats": ("body-too-large", b'{"formats":[%s1]}' % (b"1," * 340_000)),
    "one format, again and again": (
        "body-too-large",
        b'{"formats":[%s"gguf"]}' % (b'"gguf",' * 40_000),
    ),
    "unknown fields": (
        "body-too-large",
        b"{%s}" % b",".join(b'"%d":1' % n for n in range(95_000)),
    ),
    "one field, again and again": ("body-too-large", b'{"a":1%s}' % (b',"a":1' * 100_000)),
    "a ratio for each of 500,000 layers": (
        "body-too-large",
        b'{"schedule":{"ratios":[%s0]}}' % (b"0," * 500_000),
    ),
    "empty lists": ("body-too-large", b"[%s[]]" % (b"[]," * 300_000)),
    "a string": ("body-too-large", b'{"model":"%s"}' % (b"a" * (M - 20))),
    "escapes": ("body-too-large", rb'{"model":"%s"}' % (rb"\u0041" * 170_000)),
    "a name of a field": ("body-too-large", b'{"%s":1}' % (b"a" * (M - 20))),
    "lists in lists": ("malformed-request", b"[" * M),
    "objects in objects": ("body-too-large", b'{"a":' * 200_000),
    "an integer": ("malformed-request", b"9" * M),
    "a fraction": ("malformed-request", b'{"ratio":0.%s}' % (b"3" * (M - 20))),
    "an exponent": ("malformed-request", b'{"ratio":1e%s}' % (b"9" * (M - 20))),
    "blanks": ("malformed-request", b" " * M),
    "quotes": ("body-too-large", b'"' * M),
    "backslashes": ("malformed-request", b"\\" * M),
    "UTF-16": ("malformed-request", ('{"formats":[' + "1," * 250_000).encode("utf-16-le")[:M]),
    "NULs": ("malformed-request", b"\0" * M),
    "not UTF-8": ("malformed-request", b'{"\xff":1}'),
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_what_holds_too_much_is_not_even_parsed(local: TestClient, address: str) -> None:
    for name, (kind, content) in EXCESSIVE.items():
        assert len(content) <= MAX_BODY_BYTES, name
        answer = local.post(address, content=content, headers=JSON)
        assert answer.json()["type"] == f"/problems/{kind}", name
        problem(answer, kind)
        assert len(answer.content) < 1000, name


def test_a_media_type_that_is_json_in_disguise_is_counted(local: TestClient) -> None:
    content = EXCESSIVE["items that are no formats"][1]
    for media_type in ("application/problem+json", "APPLICATION/JSON ; charset=utf-8"):
        answer = local.post("/jobs", content=content, headers={"Content-Type": media_type})
        problem(answer, "body-too-large")


def test_the_first_faults_are_told_and_no_more(local: TestClient) -> None:
    most = LIMITS.keys - len(BODY) - 3
    unknown = {f"{n}{'x' * 500}": 1 for n in range(most)}
    document = problem(local.post("/jobs", json={**BODY, **unknown}), "invalid-request")
    assert len(document["errors"]) == MAX_ERRORS
    assert len(json.dumps(document)) < 10_000
    for many in (["no"] * 5000, ["gguf"] * 5000):
        document = problem(local.post("/jobs", json={**BODY, "formats": many}), "invalid-request")
        assert len(document["errors"]) == 1


def test_a_list_with_a_fault_is_not_called_short_as_well(local: TestClient) -> None:
    body = {"model": "local:tiny", "ratios": ["a lot", 0.5]}
    document = problem(local.post("/jobs", json=body), "invalid-request")
    assert [error["pointer"] for error in document["errors"]] == ["/ratios/0"]


def test_text_is_refused_for_a_nul_alone(local: TestClient) -> None:
    for text, status in (("\\u0000", 202), ("\0", 422), ("\\\0", 422), ("\\\\u0000", 202)):
        answer = local.post("/jobs", json={**BODY, "metadata": {"note": text}})
        assert answer.status_code == status, text


def largest() -> bytes:
    """The largest body that is legal, more or less."""
    ratios = [0.123456789012345678 + n * 1e-9 for n in range(4096)]
    tasks = [
        {"name": f"{n:0128}", "shots": 64, "limit": 10**9, "source": "local:a.jsonl"}
        for n in range(32)
    ]
    body = {
        **FULL,
        "schedule": {"shape": "explicit", "ratios": ratios},
        "evaluation": {
            "texts": ["c4"] * 8,
            "sequence_lengths": [2048] * 4,
            "inference": {"batch_sizes": [4096] * 8},
            "tasks": tasks,
            "tasks_source": "local:zeroshot",
        },
        "model": "org/n" + "\U0001d4b3" * 251,  # a letter of four bytes
        "metadata": {f"{n:064}": "🦙" * 40 for n in range(31)} | {"last": "\1" * 160},
    }
    room = MAX_METADATA_BYTES - len(json.dumps(body["metadata"], ensure_ascii=False).encode())
    assert 0 <= room < 100
    return json.dumps(body, indent=4).encode()


def test_the_largest_body_that_is_legal_is_accepted(local: TestClient) -> None:
    """What counts bodies must not refuse what the specification allows."""
    content = largest()
    assert len(content) < MAX_BODY_BYTES // 2
    require_within(content, LIMITS)
    answer = local.post("/jobs", content=content, headers=JSON)
    assert answer.status_code == 202, answer.text


def test_the_largest_page_of_the_largest_jobs_is_small(
    local: TestClient, own_store: Store, redis_url: str
) -> None:
    """One answer is one body times one page; so is what the process takes to make it."""
    answer = local.post("/jobs", content=largest(), headers=JSON)
    job_id = answer.json()["id"]
    assert own_store.claim(job_id, "tester") is not None
    point = PlannedPoint(
        ratio=0.2,
        parameters_after=10**15,
        bytes_after=10**15,
        ratio_achieved=0.2,
        channel_multiple=1,
    )
    planned = Planned(
        parameters_before=10**15,
        parameters_after=10**15,
        ratio_achieved=0.123456789012345678,
        layers=4096,
        channel_multiple=4096,
        points=[point] * 16,
    )
    own_store.planned(job_id, 1, planned)
    for n in range(200):
        own_store.warn(job_id, 1, Warned(message=f"{n}" + "w" * 1000))
    own_store.fail(job_id, 1, {"code": "x" * 64, "message": "🦙" * 10**5, "hint": "\1" * 10**5})
    (item,) = local.get("/jobs").json()["items"]
    assert len(json.dumps(item, ensure_ascii=False).encode()) * MAX_PAGE < PAGE_BYTES
    assert item["error"]["message"] == "🦙" * MAX_SAID
    assert item["metadata"] == answer.json()["metadata"]  # labels are whole


def test_a_list_holds_of_a_result_what_a_table_shows(
    local: TestClient, finished_job: str, own_store: Store
) -> None:
    (item,) = local.get("/jobs").json()["items"]
    assert item["result"].pop("seconds") == item["seconds"] > 0
    assert item["result"] == {
        "parameters_before": 100,
        "parameters_after": 75,
        "ratio_achieved": 0.25,
        "published": "pruned",
        "peak_memory_bytes": 1000,
        "perplexity": [{"text": "c4", "dense": 1.5}],
        "points": [],
    }
    whole = local.get(f"/jobs/{finished_job}").json()
    assert len(whole["result"]["perplexity"]) == 64
    assert {name: whole["spec"][name] for name in item["spec"] if name != "schedule"} == {
        name: value for name, value in item["spec"].items() if name != "schedule"
    }
    assert item["spec"]["schedule"] == {"shape": whole["spec"]["schedule"]["shape"]}
