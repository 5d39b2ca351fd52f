"""The manual, built once, and a server that shows nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI

from api import manual as served
from manual.__main__ import build
from tests.servers import free_port, wait_until


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The archive, and the folder of the generator with `pages/` and `site/`."""
    folder = tmp_path_factory.mktemp("manual")
    archive = folder / "manual.zip"
    (folder / "work").mkdir()
    build(archive, folder / "work")
    return archive, folder / "work"


@pytest.fixture(scope="session")
def pages(built: tuple[Path, Path]) -> Path:
    """The folder of Markdown that the generator read."""
    return built[1] / "pages"


@pytest.fixture(scope="session")
def url(built: tuple[Path, Path]) -> Iterator[str]:
    """Address of a server with the manual at `/help/`."""
    app = FastAPI()
    served.install(app, built[0])
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started, "uvicorn listens")
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()
