"""A job on more devices than one may have is refused where it is posted, and by its worker."""

from __future__ import annotations

import httpx

from api.checks.devices import too_many_devices
from slimgpt.spec.prune import PruneSpec
from tests.api.conftest import BODY


def test_the_answer_names_the_field_and_the_most_devices(api: httpx.Client) -> None:
    answer = api.post("/jobs", json=BODY | {"devices": 2})
    assert answer.status_code == 422
    (fault,) = answer.json()["errors"]
    assert fault["pointer"] == "/devices"
    assert "2 devices are more than the 1 that this service gives to one job" in fault["message"]
    assert api.post("/jobs", json=BODY | {"devices": 1}).status_code == 202
    assert api.post("/jobs", json=BODY | {"devices": 0}).status_code == 422


def test_as_many_as_are_allowed_are_not_too_many() -> None:
    job = PruneSpec.model_validate(BODY | {"devices": 4})
    assert too_many_devices(job, 4) == []
    assert [fault.pointer for fault in too_many_devices(job, 3)] == ["/devices"]
