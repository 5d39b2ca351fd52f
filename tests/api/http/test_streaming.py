"""A store that hangs holds up nobody but those who ask for what lies in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import httpx
import pytest

from jobs.files.artifacts import Artifacts
from jobs.store.store import Store
from tests.servers import wait_until

MANY = 60  # more than there are threads for requests


class Hang:
    """Whatever waits here goes on when `over` is set."""

    def __init__(self) -> None:
        self.over = Event()
        self.calls = 0

    def before(self, works: Callable[..., Any]) -> Callable[..., Any]:
        """The function, which first waits."""

        def waits(*given: Any, **named: Any) -> Any:
            self.calls += 1
            self.over.wait(60)
            return works(*given, **named)

        return waits


@pytest.fixture
def hang() -> Iterator[Hang]:
    made = Hang()
    yield made
    made.over.set()


def test_an_object_store_that_hangs_holds_up_its_own_askers_alone(
    api: httpx.Client, finished: dict[str, Any], hang: Hang, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = f"/jobs/{finished['id']}"
    monkeypatch.setattr(Artifacts, "read", hang.before(Artifacts.read))
    with ThreadPoolExecutor(MANY) as pool:
        paths = ["artifacts", "artifacts/config.json"] * (MANY // 2)
        asked = [pool.submit(api.get, f"{here}/{path}") for path in paths]
        try:
            wait_until(lambda: hang.calls >= 30, "many wait for the store")
            assert api.get(f"{here}/status", timeout=20).json()["status"] == "succeeded"
            assert api.get("/jobs", timeout=20).status_code == 200
        finally:
            hang.over.set()
        assert {answer.result().status_code for answer in asked} == {200}


def test_a_process_is_alive_though_all_its_threads_wait_for_the_database(
    api: httpx.Client, finished: dict[str, Any], hang: Hang, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "get", hang.before(Store.get))
    with ThreadPoolExecutor(MANY) as pool:
        asked = [pool.submit(api.get, f"/jobs/{finished['id']}") for _ in range(MANY)]
        try:
            wait_until(lambda: hang.calls >= 40, "all threads wait")
            assert api.get("/healthz", timeout=20).json() == {"status": "ok"}
        finally:
            hang.over.set()
        assert {answer.result().status_code for answer in asked} == {200}
