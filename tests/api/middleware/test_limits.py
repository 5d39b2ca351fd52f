"""What one client may ask of the service, and when the service takes no more."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from api.app import create_app
from api.middleware.header_size import MAX_HEADER_BYTES
from api.middleware.rate_limit import RateLimiter, of_address
from jobs.messages import circuit_breaker as breaker_module
from jobs.messages.progress import breaker
from jobs.settings import Settings
from tests import sparse_model
from tests.api.conftest import BODY, CONFIG, another
from tests.api.http.test_problems import problem
from tests.api.test_auth import Client, client, engine, guarded, keys, stranger
from tests.servers import RedisServer

__all__ = ["client", "engine", "guarded", "keys", "stranger"]
MOST = 5


@pytest.fixture(autouse=True)
def _within_a_minute() -> None:
    """Requests are counted by minutes of the clock: a test must not go over the end of one."""
    left = 60 - time.time() % 60
    if left < 10:
        time.sleep(left)


@pytest.fixture
def limits(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Settings that a test is about."""
    return dict(getattr(request, "param", {}))


@pytest.fixture
def limited(guarded: Settings, limits: dict[str, Any]) -> Settings:
    return Settings(**{**guarded.model_dump(), **limits})


@pytest.fixture
def door(limited: Settings) -> Iterator[TestClient]:
    """A client without a key of a service with the limits."""
    with TestClient(create_app(limited), client=("203.0.113.9", 50000)) as door:
        yield door


def keyed(door: TestClient, owner: Any, peer: str = "203.0.113.9") -> TestClient:
    made = another(door, client=(peer, 50000))
    made.headers["Authorization"] = owner.headers["Authorization"]
    return made


FEW_REQUESTS = pytest.mark.parametrize("limits", [{"requests_per_minute": MOST}], indirect=True)


@FEW_REQUESTS
def test_a_key_may_make_so_many_requests(door: TestClient, client: Client) -> None:
    ada, bob = keyed(door, client("ada")), keyed(door, client("bob"))
    left = []
    for _ in range(MOST):
        answer = ada.get("/jobs")
        assert answer.status_code == 200
        assert answer.headers["RateLimit-Policy"] == f'"requests";q={MOST};w=60'
        match = re.fullmatch(r'"requests";r=(\d+);t=(\d+)', answer.headers["RateLimit"])
        assert match
        left.append(int(match[1]))
    assert left == sorted(left, reverse=True)
    assert left[-1] == 0
    answer = ada.post("/jobs", json=BODY)
    problem(answer, "too-many-requests")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert "r=0" in answer.headers["RateLimit"]
    assert bob.get("/jobs").status_code == 200  # the same address, another key
    elsewhere = keyed(door, client("bob"), peer="198.51.100.1")
    elsewhere.headers["Authorization"] = ada.headers["Authorization"]
    problem(elsewhere.get("/jobs"), "too-many-requests")  # the same key, another address


@FEW_REQUESTS
def test_guesses_are_counted_by_address(door: TestClient, client: Client) -> None:
    guesses = [f"Bearer slim_{'0' * 12}_{n:052}" for n in range(MOST)]
    for guess in guesses:
        problem(door.get("/jobs", headers={"Authorization": guess}), "unauthorized")
    answer = door.get("/jobs", headers={"Authorization": guesses[0]})
    problem(answer, "too-many-requests")
    assert int(answer.headers["Retry-After"]) >= 1
    problem(door.get("/openapi.json"), "too-many-requests")
    assert door.get("/healthz").status_code == 200  # a probe must not fail for a stranger's sake
    assert keyed(door, client("ada")).get("/jobs").status_code == 200


@FEW_REQUESTS
def test_all_processes_count_together(limited: Settings, door: TestClient, client: Client) -> None:
    ada = keyed(door, client("ada"))
    for _ in range(MOST):
        ada.get("/jobs")
    with TestClient(create_app(limited)) as other:
        problem(keyed(other, ada).get("/jobs"), "too-many-requests")


def test_without_redis_each_process_counts(
    redis_server: RedisServer, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker_module, "PAUSE_SECONDS", 0.0)  # ask Redis again at once
    monkeypatch.setattr(breaker_module, "LONGEST_PAUSE_SECONDS", 0.0)

    async def requests() -> None:
        counted = RateLimiter(redis_url, 2, breaker())

        async def allowed(who: str, times: int) -> list[bool]:
            return [(await counted.count(who)).allowed for _ in range(times)]

        assert await allowed("ada", 1) == [True]
        redis_server.stop()
        assert await allowed("ada", 3) == [True, True, False]
        assert await allowed("bob", 1) == [True]
        redis_server.start()
        assert await allowed("ada", 3) == [True, True, False]
        with redis_server.frozen():
            assert await allowed("bob", 2) == [True, False]  # as this process has counted
        await counted.close()

    try:
        asyncio.run(requests())
    finally:
        if redis_server.process is None:
            redis_server.start()


def test_an_outage_is_logged_once(capfd: pytest.CaptureFixture[str]) -> None:
    async def requests() -> None:
        counted = RateLimiter("redis://127.0.0.1:1/0", 2, breaker("requests are counted here"))
        for _ in range(3):
            await counted.count("ada")
        await counted.close()

    asyncio.run(requests())
    assert "".join(capfd.readouterr()).count("requests are counted here") == 1


def test_addresses_of_one_customer_are_one_client() -> None:
    assert of_address("2001:db8::1") == of_address("2001:db8:0:0:ffff::2")
    assert of_address("2001:db8::1") != of_address("2001:db8:0:1::1")
    assert of_address("203.0.113.9") != of_address("203.0.113.10")
    assert of_address("") == of_address("testclient")


@pytest.mark.parametrize("limits", [{"max_active_jobs": 2}], indirect=True)
def test_an_owner_may_have_so_many_unfinished_jobs(door: TestClient, client: Client) -> None:
    ada, bob = keyed(door, client("ada")), keyed(door, client("bob"))
    ids = [ada.post("/jobs", json=BODY).json()["id"] for _ in range(2)]
    answer = ada.post("/jobs", json=BODY)
    problem(answer, "too-many-jobs")
    assert int(answer.headers["Retry-After"]) > 0
    assert bob.post("/jobs", json=BODY).status_code == 202
    assert ada.post(f"/jobs/{ids[0]}/cancel").status_code == 202
    assert ada.post("/jobs", json=BODY).status_code == 202
    problem(ada.post(f"/jobs/{ids[0]}/retry"), "too-many-jobs")


def test_no_job_is_taken_onto_a_full_disk(settings: Settings, tmp_path: Path) -> None:
    """The floor is put above what is free; the real disk is asked."""
    free = shutil.disk_usage(tmp_path).free
    sparse_model.write(settings.models_root / "tiny", CONFIG)
    full = Settings(**{**settings.model_dump(), "min_free_bytes": 2 * free})
    roomy = Settings(**{**settings.model_dump(), "min_free_bytes": 0})

    def local(given: Settings) -> TestClient:
        return TestClient(create_app(given), "http://127.0.0.1", client=("127.0.0.1", 50000))

    with local(roomy) as client:
        assert client.post("/jobs", json=BODY).status_code == 202
    with local(full) as client:
        answer = client.post("/jobs", json=BODY)
        document = problem(answer, "storage-low")
        assert int(answer.headers["Retry-After"]) > 0
        assert str(tmp_path) not in str(document)
        assert client.get("/jobs").status_code == 200  # what is there can be read


def test_long_headers_are_refused(api: httpx.Client) -> None:
    small, large = "x" * (MAX_HEADER_BYTES // 2), "x" * MAX_HEADER_BYTES
    assert api.get("/healthz", headers={"X-Note": small}).status_code == 200
    problem(api.get("/healthz", headers={"X-Note": large}), "headers-too-large")
    problem(api.get("/jobs?status=" + large), "headers-too-large")
    many = {f"X-{n}": "y" * 10 for n in range(MAX_HEADER_BYTES // 10)}
    answer = api.get("/healthz", headers=many)  # more than the parser takes: it hangs up
    assert answer.status_code in (400, 431)
