"""Redis, the database and the object store hang, are slow and are down: whatever does not need them
is answered meanwhile, though many requests wait for them.

Real servers, stopped where they stand (SIGSTOP), behind a slow network, killed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from api.app import create_app
from jobs.settings import Settings
from jobs.store.database import make_engine
from jobs.store.keys import Keys
from jobs.store.store import Store
from tests import sparse_model
from tests.api.conftest import BODY, CONFIG
from tests.api.routes.test_events import events
from tests.api.routes.test_jobs import run_two_of_four_layers
from tests.api.streams.test_open_responses import published
from tests.proxy import Proxy
from tests.servers import (
    ObjectStore,
    PostgresServer,
    RedisServer,
    Server,
    free_port,
    wait_until,
)

PEPPER = "a pepper that only the tests know, of some length"
TOKEN = "a token for metrics"
MANY = 60  # more than there are threads
WAIT_SECONDS = 20.0
"""An answer within them did not wait for the neighbour, which waits for the end of the test."""
SLOW_SECONDS = 0.4
OPEN = ("/healthz", "/", "/static/app.js", "/docs", "/static-offline-docs/swagger-ui.css",
        "/openapi.json", "/problems/job-not-found")  # fmt: skip
NEIGHBOURS = ("redis", "database", "artifacts")


class Service:
    """An API with keys on all three neighbours, each behind a proxy, with a job that runs and one
    that has succeeded."""

    def __init__(self, base_url: str, key: str, servers: dict[str, Server]) -> None:
        self.servers = servers
        self.proxies: dict[str, Proxy] = {}
        headers = {"Authorization": f"Bearer {key}"}
        limits = httpx.Limits(max_connections=2 * MANY)
        self.http = httpx.Client(
            base_url=base_url, headers=headers, trust_env=False, timeout=WAIT_SECONDS, limits=limits
        )
        self.running = self.finished = ""

    def asks(self, neighbour: str) -> Callable[[], httpx.Response]:
        """A request that needs the neighbour, or has something for it, and may wait long."""
        paths = {
            "redis": f"/jobs/{self.running}/status",
            "database": "/jobs",
            "artifacts": f"/jobs/{self.finished}/artifacts",
        }
        return lambda: self.http.get(paths[neighbour], timeout=300)


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory,
    redis_server: RedisServer,
    postgres_server: PostgresServer,
    object_store: ObjectStore,
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("neighbours")
    redis_server.flush()
    database, bucket = postgres_server.clone("template"), object_store.new_bucket()
    servers = {"redis": redis_server, "database": postgres_server, "artifacts": object_store}
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        proxies = {name: stack.enter_context(Proxy(s.port)) for name, s in servers.items()}
        for name, value in object_store.environment.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxies['artifacts'].port}")
        where = postgres_server.url(database)
        settings = Settings(
            home=folder,
            database_url=where.replace(str(postgres_server.port), str(proxies["database"].port)),
            redis_url=f"redis://127.0.0.1:{proxies['redis'].port}/0",
            artifacts_url=f"s3://{bucket}/some/folder",
            key_pepper=PEPPER,
            metrics_token=TOKEN,
            min_free_bytes=0,
            requests_per_minute=100_000,
        )
        yield from _serve(settings, servers, proxies, folder)
        postgres_server.drop(database)


def _serve(
    settings: Settings, servers: dict[str, Server], proxies: dict[str, Proxy], folder: Path
) -> Iterator[Service]:
    settings.models_root.mkdir(parents=True, exist_ok=True)
    sparse_model.write(settings.models_root / "tiny", CONFIG)
    engine = make_engine(settings.database_url.get_secret_value())
    store, port = Store(engine), free_port()
    config = uvicorn.Config(create_app(settings), port=port, log_level="error", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started, "uvicorn listens")
    key = Keys(engine, PEPPER).create("ada").text
    made = Service(f"http://127.0.0.1:{port}", key, servers)
    made.proxies = proxies
    made.finished = published(store, settings, "ada", folder / "made")
    made.running = made.http.post("/jobs", json=BODY).json()["id"]
    run_two_of_four_layers(store, settings, made.running)
    yield made
    made.http.close()
    server.should_exit = True
    thread.join()
    engine.dispose()


@contextmanager
def hung(service: Service, neighbour: str) -> Iterator[None]:
    with service.servers[neighbour].frozen():
        yield


@contextmanager
def slow(service: Service, neighbour: str) -> Iterator[None]:
    proxy = service.proxies[neighbour]
    proxy.delay = SLOW_SECONDS
    try:
        yield
    finally:
        proxy.delay = 0.0


@contextmanager
def down(service: Service, neighbour: str) -> Iterator[None]:
    server = service.servers[neighbour]
    if isinstance(server, ObjectStore):  # which would forget everything
        service.proxies[neighbour].refuse()
        yield
        service.proxies[neighbour].refusing = False
        return
    server.stop()
    try:
        yield
    finally:
        server.start()


def ask_what_needs_no(neighbour: str, service: Service) -> None:
    """Everything that does not need it, each once and within the client's patience."""
    http, running, finished = service.http, service.running, service.finished
    for path in OPEN:
        assert http.get(path, headers={"Authorization": ""}).status_code == 200, path
    metrics = http.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert metrics.status_code == 200
    wait_until(lambda: _not_ready(http) <= {neighbour}, "all else is ready")
    if neighbour == "database":
        return
    for path in ("", "/status", "/layers"):
        assert http.get(f"/jobs/{running}{path}").status_code == 200, path
    assert http.get(f"/jobs/{running}/status").json()["layers_done"] == 2
    assert http.get(f"/jobs/{finished}/report").status_code == 200
    assert http.get("/jobs").status_code == 200
    assert http.get("/overview").status_code == 200
    posted = http.post("/jobs", json=BODY)
    assert posted.status_code == 202
    assert http.post(f"/jobs/{posted.json()['id']}/cancel").json()["status"] == "cancelled"
    with http.stream("GET", f"/jobs/{running}/events") as stream:
        assert next(events(stream.iter_lines()))["data"]["layers_done"] == 2
    if neighbour != "artifacts":
        assert http.get(f"/jobs/{finished}/artifacts").status_code == 200
        with http.stream("GET", f"/jobs/{finished}/artifacts/model.safetensors") as answer:
            assert answer.status_code == 200
            next(answer.iter_bytes())


def _not_ready(http: httpx.Client) -> set[str]:
    checks = http.get("/readyz").json()["checks"]
    return {part for part in NEIGHBOURS if checks[part] != "ok"}


@pytest.mark.parametrize("fault", [hung, slow, down])
@pytest.mark.parametrize("neighbour", NEIGHBOURS)
def test_what_does_not_need_a_neighbour_does_not_wait_for_it(
    service: Service, neighbour: str, fault: Callable[[Service, str], Any]
) -> None:
    ask = service.asks(neighbour)
    assert ask().status_code == 200
    with ThreadPoolExecutor(MANY) as pool:
        with fault(service, neighbour):
            waiting = [pool.submit(ask) for _ in range(MANY)]
            ask_what_needs_no(neighbour, service)
            if neighbour == "database" and fault is not slow:
                _given_up(waiting)
        statuses = {answer.result().status_code for answer in waiting}
    assert statuses <= {200, 503}
    wait_until(lambda: ask().status_code == 200, f"{neighbour} is asked again")
    wait_until(lambda: service.http.get("/readyz").is_success, "all is ready again")


def _given_up(waiting: list[Future[httpx.Response]]) -> None:
    """All that need it are told to come again, while it still stands."""
    for future in waiting:
        answer = future.result(60)
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
