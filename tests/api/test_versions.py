"""The API's paths begin with /v1, and those of before do the same."""

from __future__ import annotations

import re

import httpx
import pytest

from api.app import create_app
from api.http.allowed_methods import allowed
from api.schemas.paths import VERSION
from jobs.settings import Settings
from tests.api.conftest import BODY


def test_every_path_with_a_version_has_an_alias_that_is_not_documented(settings: Settings) -> None:
    app = create_app(settings)
    documented = app.openapi()["paths"]
    versioned = [path for path in documented if path.startswith(f"{VERSION}/")]
    assert len(versioned) > 20
    for path in versioned:
        alias = path.removeprefix(VERSION)
        assert alias not in documented
        both = (
            allowed(app.routes, {"path": re.sub(r"\{\w+\}", "x", place), "headers": []})
            for place in (path, alias)
        )
        methods, of_alias = both
        assert methods == of_alias != []


@pytest.mark.parametrize("version", [VERSION, ""])
def test_both_do_the_same_and_answers_name_the_version(api: httpx.Client, version: str) -> None:
    answer = api.post(f"{version}/jobs", json=BODY)
    job = answer.json()
    assert answer.headers["Location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
    for link in sorted(set(job["links"].values()) - {job["links"]["events"]}):
        assert api.get(link).status_code in (200, 409)
    found = api.get(f"{version}/jobs/{job['id']}").json()
    assert found == api.get(job["links"]["self"]).json()
    large = b"Once upon a time. " * 100_000  # more than other bodies may have
    headers = {"Content-Type": "text/plain"}
    made = api.post(f"{version}/calibration-sets", content=large, headers=headers)
    assert made.status_code == 201
    assert made.json()["links"]["content"].startswith("/v1/calibration-sets/cal_")
