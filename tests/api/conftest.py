"""A real uvicorn on loopback, and jobs in states that only workers bring about."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
import uvicorn
from starlette.testclient import TestClient

from api.app import create_app
from jobs.files.artifacts import Artifacts
from jobs.settings import Settings
from jobs.store.database import make_engine
from jobs.store.store import Store
from slimgpt.events import Result
from tests import sparse_model
from tests.servers import free_port, wait_until

BODY: dict[str, Any] = {"model": "local:tiny", "ratio": 0.25, "calibration": {"source": "c4"}}
CONFIG: dict[str, Any] = {
    "model_type": "llama", "dtype": "float16", "vocab_size": 32_000, "hidden_size": 4096,
    "intermediate_size": 11_008, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 32, "max_position_embeddings": 131_072, "tie_word_embeddings": False,
}  # fmt: skip
"""Of a model of 6.7B; see `tests.sparse_model`."""
TEXT = "Once upon a time.\n" * 32_768
"""Not surely too short for 256 sequences of 2,048 tokens."""
PublishJob = Callable[[Path, dict[str, Any]], str]


def another(running: TestClient, **options: Any) -> TestClient:
    """Another client of the application that one is running, on its event loop."""
    made = TestClient(running.app, **options)
    made.portal = running.portal
    return made


@pytest.fixture
def base_url(settings: Settings) -> Iterator[str]:
    """Address of the API over the test's own store, with one model folder and one text."""
    sparse_model.write(settings.models_root / "tiny", CONFIG)
    (settings.texts_root / "notes.txt").write_text(TEXT)
    port = free_port()
    config = uvicorn.Config(create_app(settings), port=port, log_level="error", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    # A process of its own would log to its own stderr, not to what a command under test prints.
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    thread.start()
    wait_until(lambda: server.started, "uvicorn listens")
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()
    structlog.reset_defaults()


@pytest.fixture
def api(base_url: str) -> Iterator[httpx.Client]:
    """A client of the running API."""
    with httpx.Client(base_url=base_url, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
def own_store(settings: Settings) -> Iterator[Store]:
    """The store that the API works on."""
    engine = make_engine(settings.database_url.get_secret_value())
    yield Store(engine)
    engine.dispose()


@pytest.fixture
def publish_job(api: httpx.Client, own_store: Store, settings: Settings) -> PublishJob:
    """Makes a succeeded job of a folder of files and a report; its id."""

    def publish(folder: Path, report: dict[str, Any]) -> str:
        job_id: str = api.post("/jobs", json=BODY).json()["id"]
        claim = own_store.claim(job_id, "tester")
        assert claim is not None
        prefix = f"jobs/{job_id}/{claim.epoch}"
        Artifacts(settings.artifacts_url).put(prefix, folder)
        result = Result(
            parameters_before=100,
            parameters_after=75,
            ratio_achieved=0.25,
            seconds=1.5,
            peak_memory_bytes=1000,
        ).model_dump()
        assert own_store.finish(job_id, claim.epoch, prefix=prefix, result=result, report=report)
        return job_id

    return publish


@pytest.fixture
def finished(publish_job: PublishJob, settings: Settings, tmp_path: Path) -> dict[str, Any]:
    """A succeeded job with three files, as `id` and `files`."""
    files = {
        "config.json": b'{"model_type": "llama"}',
        "model.safetensors": bytes(range(256)) * 8192,  # 2 MiB: several chunks
        "nested/grüße & more.bin": b"",
    }
    folder = tmp_path / "checkpoint"
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    job_id = publish_job(folder, {"ratio": 0.25, "by": "test"})
    published = Path(settings.artifacts_url) / f"jobs/{job_id}/1"
    return {"id": job_id, "files": files, "folder": published}
