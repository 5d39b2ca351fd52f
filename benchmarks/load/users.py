"""The clients of the load test, as locust runs them: pollers, and a few who post and list.

Told by the environment: `LOAD_KEY`, an API key; `LOAD_JOBS`, a file with a job id a line;
`LOAD_POLL_SECONDS`, the pause of a poller; `LOAD_POSTS`, posts a second of all posters together.
"""

from __future__ import annotations

import os
import random
from itertools import cycle
from pathlib import Path
from typing import ClassVar

from locust import FastHttpUser, constant_throughput, task

KEY = {"Authorization": f"Bearer {os.environ['LOAD_KEY']}"}
JOBS = cycle(Path(os.environ["LOAD_JOBS"]).read_text().split())
POLL_SECONDS = float(os.environ["LOAD_POLL_SECONDS"])
POSTERS, LISTERS = 10, 5
BODY = {
    "model": "org/load-test",
    "ratio": 0.25,
    "calibration": {"source": "c4", "samples": 8, "sequence_length": 128},
    "metadata": {"team": "load"},
}


class Poller(FastHttpUser):
    """Watches one job, as clients do: `Retry-After` seconds apart, with the ETag it has."""

    wait_time = constant_throughput(1 / POLL_SECONDS)
    etag = ""

    def on_start(self) -> None:
        self.job = next(JOBS)

    @task
    def poll(self) -> None:
        path, name = f"/jobs/{self.job}/status", "GET /jobs/{id}/status"
        headers = KEY | ({"If-None-Match": self.etag} if self.etag else {})
        with self.client.get(path, headers=headers, name=name, catch_response=True) as answer:
            self.etag = (answer.headers or {}).get("ETag", self.etag)
            if answer.status_code in (200, 304):
                answer.success()


class Poster(FastHttpUser):
    """Posts jobs."""

    fixed_count = POSTERS
    wait_time = constant_throughput(float(os.environ["LOAD_POSTS"]) / POSTERS)

    @task
    def post(self) -> None:
        self.client.post("/jobs", json=BODY, headers=KEY, name="POST /jobs")


class Lister(FastHttpUser):
    """Looks at lists, as dashboards do."""

    fixed_count = LISTERS
    wait_time = constant_throughput(0.5)
    lists: ClassVar = ["/jobs?limit=50", "/jobs?status=running", "/jobs?metadata=team%3Dload"]

    @task
    def look(self) -> None:
        self.client.get(random.choice(self.lists), headers=KEY, name="GET /jobs")
