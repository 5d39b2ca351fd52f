"""API, worker and reaper as processes of their own, with metrics on ports of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from jobs.store.database import make_engine
from jobs.store.keys import Keys
from tests.servers import RedisServer, free_port, wait_until
from tests.worker.conftest import engine_command
from worker.engine import launch

PEPPER = "a pepper that only the tests know, of some length"
TOKEN = "a token of the tests alone"
START_SECONDS = 90.0
CELERY_ENDS = ("", "worker: Warm shutdown (MainProcess)")  # written past every logger


class Stack:
    """The service's programs over SQLite and a Redis, with a script as the engine.

    Args:
        folder: home and logs.
        redis_url: a Redis that runs.
        environment: further variables, which count before those made here.
    """

    def __init__(self, folder: Path, redis_url: str, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in ("api", "worker", "reaper")}
        self.url = f"http://127.0.0.1:{self.ports['api']}"
        self.environment = {
            "SLIMGPT_HOME": str(folder),
            "SLIMGPT_DATABASE_URL": f"sqlite:///{folder / 'slimgpt.db'}",
            "SLIMGPT_REDIS_URL": redis_url,
            "SLIMGPT_KEY_PEPPER": PEPPER,
            "SLIMGPT_METRICS_TOKEN": TOKEN,
            "SLIMGPT_DEVICE": "cpu",
            "SLIMGPT_REAP_SECONDS": "1",
            "SLIMGPT_ENGINE_COMMAND": json.dumps(engine_command("good")),
            **environment,
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("models/tiny", "texts", "work", "artifacts"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "models" / "tiny" / "config.json").write_text("{}")

    def start(self) -> None:
        """Start all three; returns when the API answers and the worker takes messages."""
        self._run("worker", ["worker"])
        self._run("reaper", ["worker.housekeeping.reaper"])
        self.start_api()
        wait_until(lambda: " ready." in self.log("worker"), "the worker is ready", START_SECONDS)
        wait_until(lambda: "metrics are served" in self.log("worker"), "worker", START_SECONDS)
        wait_until(lambda: "metrics are served" in self.log("reaper"), "reaper", START_SECONDS)

    def start_api(self) -> None:
        """Start the API alone; returns when it answers."""
        uvicorn = ["uvicorn", "--factory", "api.app:from_environment", "--port"]
        self._run("api", [*uvicorn, str(self.ports["api"])])
        wait_until(self._answers, "the API answers", START_SECONDS)

    def log(self, name: str) -> str:
        """What a program has written so far."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def entries(self, name: str) -> list[dict[str, Any]]:
        """The entries of a program's log; each line is one, but for Celery's word on its end."""
        lines = [line for line in self.log(name).splitlines() if line not in CELERY_ENDS]
        return [json.loads(line) for line in lines]

    def key(self, owner: str) -> str:
        """A new API key."""
        engine = make_engine(self.environment["SLIMGPT_DATABASE_URL"])
        try:
            return Keys(engine, self.environment["SLIMGPT_KEY_PEPPER"]).create(owner).text
        finally:
            engine.dispose()

    def client(self, text: str) -> httpx.Client:
        """A client of the API with that key."""
        headers = {"Authorization": f"Bearer {text}"}
        return httpx.Client(base_url=self.url, trust_env=False, timeout=60, headers=headers)

    def close(self) -> None:
        """End all of it."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(40)

    def _run(self, name: str, module: list[str]) -> None:
        own = {"SLIMGPT_METRICS_PORT": "" if name == "api" else str(self.ports[name])}
        with (self.folder / f"{name}.log").open("wb") as output:
            self.processes[name] = subprocess.Popen(
                launch.command([sys.executable, "-m", *module]),
                env=os.environ | self.environment | own,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _answers(self) -> bool:
        assert self.processes["api"].poll() is None, self.log("api")
        try:
            return httpx.get(f"{self.url}/healthz", trust_env=False).is_success
        except httpx.TransportError:
            return False


def finish(client: httpx.Client, job_id: str) -> dict[str, Any]:
    """The job when it is over."""

    def over() -> dict[str, Any] | None:
        job: dict[str, Any] = client.get(f"/jobs/{job_id}").json()
        return job if job["status"] in ("succeeded", "failed", "cancelled") else None

    found: dict[str, Any] = wait_until(over, f"the end of {job_id}", 120)
    return found


def new_redis() -> RedisServer:
    """A Redis of the test's own, started."""
    server = RedisServer()
    server.start()
    return server
