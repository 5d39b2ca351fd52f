"""Answers that go on for long are counted, of an owner and of the process, and given back."""

from __future__ import annotations

import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.http.concurrency_limit import FEWEST, RESERVED_DESCRIPTORS, within_descriptors
from jobs.files.artifacts import Artifacts
from jobs.settings import Settings
from jobs.store.database import make_engine
from jobs.store.keys import Keys
from jobs.store.store import Store
from slimgpt.events import Result
from slimgpt.spec.prune import PruneSpec
from tests.api.http.test_problems import problem
from tests.servers import wait_until

PEPPER = "a pepper that only the tests know, of some length"
SPEC = PruneSpec(model="local:tiny", ratio=0.25)
OF_OWNER, OF_PROCESS = 2, 3
Client = Callable[[str], httpx.Client]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A service with keys and few answers at once."""
    bounds = {
        "max_streams_per_owner": OF_OWNER,
        "max_streams": OF_PROCESS,
        "max_downloads_per_owner": OF_OWNER,
        "max_downloads": OF_PROCESS,
    }
    keys = {"auth": "keys", "key_pepper": PEPPER, "loopback_only": False}
    return Settings(**{**settings.model_dump(), **keys, **bounds})


@pytest.fixture
def client(base_url: str, settings: Settings) -> Iterator[Client]:
    """Makes clients, each with a new key of an owner."""
    engine = make_engine(settings.database_url.get_secret_value())
    with ExitStack() as stack:

        def of(owner: str) -> httpx.Client:
            text = Keys(engine, PEPPER).create(owner).text
            headers = {"Authorization": f"Bearer {text}"}
            made = httpx.Client(base_url=base_url, headers=headers, trust_env=False, timeout=30)
            return stack.enter_context(made)

        yield of
    engine.dispose()


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    engine = make_engine(settings.database_url.get_secret_value())
    yield Store(engine)
    engine.dispose()


def published(store: Store, settings: Settings, owner: str, folder: Path) -> str:
    """A succeeded job with a file that fills every buffer on the way to a client."""
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(b"x" * (64 << 20))
    job = store.create(SPEC, owner=owner)
    claim = store.claim(job.id, "tester")
    assert claim is not None
    prefix = f"jobs/{job.id}/1"
    Artifacts(settings.artifacts_url).put(prefix, folder)
    sizes = {"parameters_before": 1, "parameters_after": 1, "ratio_achieved": 0.5}
    result = Result(**sizes, seconds=1.0, peak_memory_bytes=1)
    assert store.finish(job.id, 1, prefix=prefix, result=result.model_dump(), report={})
    return job.id


@contextmanager
def held(client: httpx.Client, path: str, count: int) -> Iterator[None]:
    """So many answers, begun and not read to their end."""
    with ExitStack() as stack:
        for _ in range(count):
            answer = stack.enter_context(client.stream("GET", path))
            assert answer.status_code == 200
        yield


def refused(answer: httpx.Response, kind: str) -> None:
    problem(answer, kind)
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize("kind", ["streams", "downloads"])
def test_an_owner_and_a_process_have_so_many_open(
    kind: str, client: Client, store: Store, settings: Settings, tmp_path: Path
) -> None:
    paths: dict[str, str] = {}
    for owner in ("ada", "bob", "cyd"):
        if kind == "streams":
            paths[owner] = f"/jobs/{store.create(SPEC, owner=owner).id}/events"
        else:
            job_id = published(store, settings, owner, tmp_path / "made")
            paths[owner] = f"/jobs/{job_id}/artifacts/model.safetensors"
    ada, bob, cyd = (client(owner) for owner in paths)
    with held(ada, paths["ada"], OF_OWNER):
        refused(ada.get(paths["ada"]), f"too-many-{kind}")
        refused(client("ada").get(paths["ada"]), f"too-many-{kind}")  # another key of hers
        assert ada.get("/jobs").status_code == 200
        with held(bob, paths["bob"], OF_PROCESS - OF_OWNER):
            refused(cyd.get(paths["cyd"]), "unavailable")
            assert cyd.get(paths["cyd"].rpartition("/")[0].replace("/artifacts", "")).is_success
        wait_until(lambda: _opens(cyd, paths["cyd"]), "bob's place is given back")
    wait_until(lambda: _opens(ada, paths["ada"]), "ada's places are given back")


def _opens(client: httpx.Client, path: str) -> bool:
    with client.stream("GET", path) as answer:
        return answer.status_code == 200


def test_a_client_that_vanishes_gives_its_place_back(
    client: Client, store: Store, base_url: str
) -> None:
    ada, url = client("ada"), httpx.URL(base_url)
    path = f"/jobs/{store.create(SPEC, owner='ada').id}/events"
    key = ada.headers["Authorization"]
    request = f"GET {path} HTTP/1.1\r\nHost: {url.host}\r\nAuthorization: {key}\r\n\r\n".encode()
    for _ in range(3):
        sockets = [socket.create_connection((str(url.host), url.port or 80)) for _ in range(2)]
        for one in sockets:
            one.sendall(request)
            assert b" 200 " in one.recv(100)
        refused(ada.get(path), "too-many-streams")
        for one in sockets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
            one.close()
        wait_until(lambda: _opens(ada, path), "the places are given back")
        wait_until(lambda: ada.get("/jobs").is_success, "it serves")


def test_a_process_with_few_descriptors_opens_fewer() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def most(descriptors: int) -> Any:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
        try:
            return within_descriptors(500)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert most(RESERVED_DESCRIPTORS + 600) == 500
    assert most(RESERVED_DESCRIPTORS + 100) == 100
    assert most(200) == FEWEST
