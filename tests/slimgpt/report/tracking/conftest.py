"""A real MLflow on SQLite that keeps files itself, and its REST API to look behind the client."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.servers import START_SECONDS, Server


class MlflowServer(Server):
    """`mlflow server`, which is a process that starts others."""

    start_seconds = 200.0  # it imports for ten seconds of a free core, and makes its tables

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.url = f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        program = str(Path(sys.executable).with_name("mlflow"))
        place = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        store = f"sqlite:///{self.folder}/mlflow.db"
        kept = ["--backend-store-uri", store, "--artifacts-destination", str(self.folder / "files")]
        return [program, "server", *place, *kept, "--serve-artifacts"]

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", trust_env=False).is_success
        except httpx.TransportError:
            return False

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, number)
            self.process.wait(timeout=START_SECONDS)
            self.process = None

    def ask(self, what: str, body: dict[str, Any] | None = None, **params: str) -> Any:
        """Its answer to GET, or to POST where there is a body."""
        address = f"{self.url}/api/2.0/mlflow/{what}"
        with httpx.Client(trust_env=False, timeout=60.0) as http:
            method = "GET" if body is None else "POST"
            answer = http.request(method, address, params=params, json=body)
        assert answer.is_success, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def mlflow_server() -> Iterator[MlflowServer]:
    # Its processes inherit the environment: no test tells anybody that it ran.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # another process, for nothing
        made = MlflowServer()
        try:
            made.start()
            yield made
        finally:
            made.close()
