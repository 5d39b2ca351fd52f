"""Clients of the API: one keeps jobs in the queue, others poll the status of what is unfinished."""

from __future__ import annotations

import threading
import time
from itertools import count

import httpx
from sqlalchemy import select

from benchmarks.load.service import Service
from jobs.states import UNFINISHED
from jobs.store.tables import JOBS
from tests.faults.trial import SCRIPTED

LOOK_SECONDS = 0.5


class Clients:
    """Threads that use a service until `stop`.

    Args:
        backlog: jobs that always wait.
        polls: statuses asked for a second.
    """

    def __init__(self, service: Service, backlog: int, polls: float) -> None:
        self._service, self._backlog, self._pause = service, backlog, 1 / polls
        self._over = threading.Event()
        self._unfinished: list[str] = []
        self.failed: list[str] = []
        """Requests that were not answered with success."""
        self.polls: list[tuple[float, float]] = []
        """Unix time and milliseconds of each."""
        self.posts: list[float] = []
        """Unix time of each."""
        self._threads = [threading.Thread(target=one) for one in (self._post, self._poll)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _http(self) -> httpx.Client:
        key = {"Authorization": f"Bearer {self._service.key}"}
        url = f"{self._service.url}/v1"
        return httpx.Client(base_url=url, headers=key, trust_env=False, timeout=60)

    def _post(self) -> None:
        wanted = select(JOBS.c.id, JOBS.c.status).where(JOBS.c.status.in_(UNFINISHED))
        with self._http() as http:
            while not self._over.wait(LOOK_SECONDS):
                with self._service.engine.connect() as connection:
                    rows = connection.execute(wanted).all()
                self._unfinished = [row.id for row in rows]
                waiting = sum(row.status == "queued" for row in rows)
                for _ in range(self._backlog - waiting):
                    self._check(http.post("/jobs", json=SCRIPTED))
                    self.posts.append(time.time())

    def _poll(self) -> None:
        began = time.monotonic()
        with self._http() as http:
            for number in count():
                if self._over.wait(max(0.0, began + number * self._pause - time.monotonic())):
                    return
                if not (known := self._unfinished):
                    continue
                asked, at = time.perf_counter(), time.time()
                self._check(http.get(f"/jobs/{known[number % len(known)]}/status"))
                self.polls.append((at, (time.perf_counter() - asked) * 1e3))

    def _check(self, answer: httpx.Response) -> None:
        if not answer.is_success:
            self.failed.append(f"{answer.request.url}: {answer.status_code} {answer.text[:200]}")
