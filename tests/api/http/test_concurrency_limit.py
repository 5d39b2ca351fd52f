"""An owner whose requests take long does not refuse everybody else's."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.checks import plan_check
from api.http.concurrency_limit import ConcurrencyLimit
from api.http.problems import Problem
from api.routes import webhooks
from api.uploads import receive
from api.uploads.spool import Spool
from jobs.messages import webhook_urls
from jobs.settings import Settings
from jobs.store.database import make_engine
from jobs.store.keys import Keys
from tests.api.conftest import BODY
from tests.api.http.test_problems import problem
from tests.api.test_contract import OUTLOOK, PEPPER
from tests.servers import wait_until

SLOW, QUICK = 0.25, 0.5
"""Ratios of which the engine below plans the first when a file is there."""
ENGINE = """
import json, pathlib, sys, time
if json.load(sys.stdin)["ratio"] == {slow}:
    pathlib.Path({begun!r}).touch()
    while not pathlib.Path({gate!r}).exists():
        time.sleep(0.01)
print({outlook!r})
"""
NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    return tmp_path / "begun"


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


@pytest.fixture
def settings(settings: Settings, begun: Path, gate: Path) -> Settings:
    """Keys are asked for; some plans take as long as the gate is closed."""
    script = ENGINE.format(slow=SLOW, begun=str(begun), gate=str(gate), outlook=json.dumps(OUTLOOK))
    changes = {"auth": "keys", "key_pepper": PEPPER, "loopback_only": False}
    return Settings(
        **settings.model_dump() | changes | {"engine_command": (sys.executable, "-S", "-c", script)}
    )


@pytest.fixture
def client(base_url: str, settings: Settings) -> Iterator[Callable[[str], httpx.Client]]:
    """Clients of the running service, each with a key of an owner."""
    with closing(ExitStack()) as open_clients:
        engine = make_engine(settings.database_url.get_secret_value())
        open_clients.callback(engine.dispose)

        def of(owner: str) -> httpx.Client:
            headers = {"Authorization": f"Bearer {Keys(engine, PEPPER).create(owner).text}"}
            made = httpx.Client(base_url=base_url, headers=headers, trust_env=False, timeout=30)
            return open_clients.enter_context(made)

        yield of


def test_no_owner_takes_all_plans(
    client: Callable[[str], httpx.Client], begun: Path, gate: Path
) -> None:
    ada, bob = client("ada"), client("bob")
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(ada.post, "/plans", json={**BODY, "ratio": SLOW})
        wait_until(begun.exists, "the slow plan is being made")
        for _ in range(plan_check.AT_ONCE):
            refused = client("ada").post("/plans", json={**BODY, "ratio": QUICK})
            problem(refused, "too-many-plans")
            assert int(refused.headers["Retry-After"]) > 0
        assert bob.post("/plans", json={**BODY, "ratio": QUICK}).status_code == 200
        gate.touch()
        assert slow.result().status_code == 200
    assert ada.post("/plans", json={**BODY, "ratio": QUICK}).status_code == 200


def test_no_owner_takes_all_checks_of_uploads(
    client: Callable[[str], httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = threading.Event()
    checking: list[bytes] = []

    class Slow(Spool):
        def feed(self, chunk: bytes) -> None:
            if b"slow" in chunk:
                checking.append(chunk)
                assert opened.wait(60)
            super().feed(chunk)

    monkeypatch.setattr(receive, "Spool", Slow)
    ada, bob = client("ada"), client("bob")

    def upload(api: httpx.Client, text: str) -> httpx.Response:
        return api.post("/calibration-sets", content=json.dumps(text), headers=NDJSON)

    with ThreadPoolExecutor(receive.AT_ONCE) as pool:
        slow = [pool.submit(upload, ada, f"slow {n}") for n in range(receive.AT_ONCE)]
        wait_until(lambda: checking, "an upload is being checked")
        assert upload(bob, "quick").status_code == 201
        assert len(checking) == 1
        opened.set()
        assert {answer.result().status_code for answer in slow} == {201}


def test_no_owner_takes_all_checks_of_webhooks(
    client: Callable[[str], httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of one owner lead to a name server that hangs."""
    opened = threading.Event()
    asked: list[str] = []

    def resolver(host: str, _port: int) -> list[str]:
        asked.append(host)
        assert host == "quick.example" or opened.wait(60)
        return ["93.184.215.14"]

    class Slow(webhook_urls.WebhookUrls):
        def __init__(self, *, private: bool) -> None:
            super().__init__(private=private, resolver=resolver)

    monkeypatch.setattr(webhooks, "WebhookUrls", Slow)

    def hook(api: httpx.Client, host: str) -> httpx.Response:
        return api.post("/webhooks", json={"url": f"https://{host}/"})

    ada, bob = client("ada"), client("bob")
    with ThreadPoolExecutor(8) as pool:
        slow = [pool.submit(hook, ada, f"slow-{n}.example") for n in range(8)]
        wait_until(lambda: sum(one.done() for one in slow) == 6, "those beyond a share are told")
        assert hook(bob, "quick.example").status_code == 201
        opened.set()
        statuses = [one.result().status_code for one in slow]
    assert statuses.count(429) == 6


def hold(limit: ConcurrencyLimit, owner: str, **more: Any) -> Any:
    return limit.held(owner, **more)


def test_limits_of_an_owner_and_of_the_process() -> None:
    shares = ConcurrencyLimit("plans", 3, 2, "too-many-plans")
    with ExitStack() as held:
        for owner in ("ada", "ada", "bob"):
            held.enter_context(hold(shares, owner))
        with pytest.raises(Problem, match="ada already has 2 plans") as own, hold(shares, "ada"):
            pass
        assert own.value.kind == "too-many-plans"
        with (
            pytest.raises(Problem, match="3 plans are already in progress") as full,
            hold(shares, "bob"),
        ):
            pass
        assert full.value.kind == "unavailable"
    with ExitStack() as held:  # all have been given back, to a service with one owner
        for _ in range(3):
            held.enter_context(hold(shares, "local", alone=True))
        with pytest.raises(Problem) as full, hold(shares, "local", alone=True):
            pass
        assert full.value.kind == "unavailable"
