"""Texts on which a pattern that backtracks would not come to an end: answered all the same."""

from __future__ import annotations

import httpx
import pytest

LONG = 7000


@pytest.mark.parametrize(
    "query",
    [
        {"owner": "a" * LONG + "!"},
        {"model": "a." * (LONG // 2)},
        {"metadata": "a" * 64 + "=" + "a" * (LONG - 100)},
        {"metadata": "a." * (LONG // 2)},
        {"created_after": "2026-" * (LONG // 5)},
        {"created_before": "9" * LONG},
        {"cursor": "A" * LONG},
        {"cursor": "A" * 128},
        {"limit": "9" * LONG},
        {"status": "queued" * (LONG // 6)},
    ],
)
def test_filters(api: httpx.Client, query: dict[str, str]) -> None:
    assert api.get("/jobs", params=query).status_code == 422


@pytest.mark.parametrize(
    "model", ["a/" * 3000, "local:" + "../" * 2000, "a" * 7000 + "/b@", "org/" + "name@" * 1000]
)
def test_names(api: httpx.Client, model: str) -> None:
    assert api.post("/jobs", json={"model": model, "ratio": 0.2}).status_code == 422


@pytest.mark.parametrize("name", ["idempotency-key", "last-event-id", "x-request-id", "range"])
def test_headers(api: httpx.Client, name: str) -> None:
    text = "bytes=" + "0-" * 3000 if name == "range" else "1-" * 3000 + "é"
    header = {name.encode(): text.encode("latin-1")}
    answer = api.get("/jobs/job_none/events", headers=header)
    assert answer.status_code in (404, 422)
    body = {"model": "local:none", "ratio": 0.2}
    assert api.post("/jobs", json=body, headers=header).status_code == 422
