"""`slimgpt up` as a process, for tests: started, asked over HTTP, stopped, and counted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.servers import free_port, wait_until

READY_SECONDS = 120.0
JOB_SECONDS = 120.0
OVER = ("succeeded", "failed", "cancelled")
ROOT = Path(__file__).resolve().parent.parent


class Up:
    """One `slimgpt up` on a home of its own; may be started several times.

    Args:
        home: its home folder.
        options: further options of the command.
        settings: `SLIMGPT_*` variables; none of the tests' own environment are inherited.
    """

    def __init__(
        self, home: Path, options: Sequence[str] = (), settings: Mapping[str, str] | None = None
    ) -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.options = options
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("SLIMGPT_")}
        self.env |= {"SLIMGPT_DEVICE": "cpu", "SLIMGPT_REAP_SECONDS": "0.5", **(settings or {})}
        self.output = home.with_name(home.name + ".out")
        self.process: psutil.Popen | None = None
        self.family: list[psutil.Process] = []
        self.http = httpx.Client(base_url=self.url, trust_env=False, timeout=30)

    def command(self, *arguments: str) -> list[str]:
        """A command line of `slimgpt`."""
        return [sys.executable, "-m", "cli.main", *arguments]

    def start(self) -> None:
        """Start it, and return when it says that it is ready."""
        self.begin()
        wait_until(self.is_ready, "slimgpt up is ready", READY_SECONDS)

    def begin(self) -> None:
        """Start it; does not wait."""
        arguments = ("up", "--home", str(self.home), "--port", str(self.port), *self.options)
        with self.output.open("wb") as output:
            self.process = psutil.Popen(
                self.command(*arguments), env=self.env, stdout=output, stderr=output, cwd=ROOT
            )

    def is_ready(self) -> bool:
        """Whether it says that it is.

        Raises:
            RuntimeError: it has ended.
        """
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"slimgpt up ended:\n{self.said()}")
        return "ready at" in self.said()

    def said(self) -> str:
        """What it wrote to the terminal."""
        return self.output.read_text(encoding="utf-8")

    def end(self, number: signal.Signals) -> int:
        """Send a signal, wait for the end; remembers the family that there was."""
        assert self.process is not None
        self.family = self.process.children(recursive=True)
        self.process.send_signal(number)
        return int(self.process.wait(timeout=60))

    def left(self) -> list[str]:
        """Names of those of the family who live on."""
        return [str(process) for process in self.family if _lives(process)]

    def close(self) -> None:
        """End it, if it runs."""
        self.http.close()
        if self.process is not None and self.process.poll() is None:
            self.end(signal.SIGTERM)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another `slimgpt` command, told where the service is."""
        return subprocess.run(
            self.command(*arguments),
            env={**self.env, "SLIMGPT_URL": self.url},
            check=False,
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=JOB_SECONDS,
        )

    def get(self, path: str) -> Any:
        """The JSON document at a path."""
        return self.http.get(path).raise_for_status().json()

    def post(self, body: Mapping[str, Any]) -> httpx.Response:
        """Post a job."""
        return self.http.post("/jobs", json=dict(body))

    def await_status(self, job_id: str, *, done: int | None = None) -> dict[str, Any]:
        """The status when the job is over, or when so many layers are done while it runs."""

        def reached() -> dict[str, Any] | None:
            status: dict[str, Any] = self.get(f"/jobs/{job_id}/status")
            running = status["status"] == "running"
            met = (
                status["status"] in OVER
                if done is None
                else running and status["layers_done"] >= done
            )
            return status if met else None

        what = f"job {job_id} is over" if done is None else f"{done} layers are done"
        status: dict[str, Any] = wait_until(reached, what, JOB_SECONDS)
        return status


def script_engine(behaviour: str, *gate: str) -> dict[str, str]:
    """Settings with an engine that prunes nothing; see `tests/worker/script_engine.py`."""
    script = ROOT / "tests" / "worker" / "script_engine.py"
    command = [sys.executable, str(script), behaviour, *gate]
    return {"SLIMGPT_ENGINE_COMMAND": json.dumps(command)}


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
