"""What the client does when answers are lost: real connections, cut at the worst moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from slimgpt.client import (
    ClientError,
    Outage,
    TooManyRequestsError,
    UnavailableError,
    UnreachableError,
)
from tests.api.conftest import BODY
from tests.proxy import Proxy


class Between:
    """Passes requests on to the service, and fails some of the answers as it is told.

    Attributes:
        plan: what to do with the next requests: a number is a status that is answered in the
            service's place, `lost` cuts the connection after the service has answered, `half` after
            half of its answer. Afterwards everything is passed on.
        wait: seconds after which to ask again, as an answer in the service's place says.
        seen: method and idempotency key of each request.
    """

    def __init__(self, target: str) -> None:
        self.plan: list[Any] = []
        self.wait = 0
        self.seen: list[tuple[str, str | None]] = []
        between = self

        class Handler(BaseHTTPRequestHandler):
            def _pass(self) -> None:
                between.seen.append((self.command, self.headers["Idempotency-Key"]))
                step = between.plan.pop(0) if between.plan else None
                if isinstance(step, int):
                    self.send_response(step)
                    self.send_header("Retry-After", str(between.wait))
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
                answer = httpx.request(
                    self.command,
                    target + self.path,
                    content=body,
                    headers=headers,
                    trust_env=False,
                    timeout=60,
                )
                content = answer.content
                if step == "lost":
                    self.close_connection = True
                    return
                self.send_response(answer.status_code)
                for name, value in answer.headers.items():
                    if name not in ("connection", "transfer-encoding", "content-length"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if step == "half":
                    self.wfile.write(content[: len(content) // 2])
                    self.wfile.flush()
                    self.close_connection = True
                    return
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = _pass  # noqa: N815 - the server's names

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def between(base_url: str) -> Iterator[Between]:
    made = Between(base_url)
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def client(between: Between, connect: Any) -> Any:
    return connect(between.url, retries=3)


def test_a_job_whose_answer_was_lost_is_posted_again_and_is_one(
    client: Any, between: Between, api: httpx.Client
) -> None:
    between.plan = ["lost", 503, 429]
    job = client.jobs.create(BODY)
    keys = {key for _, key in between.seen}
    assert len(between.seen) == 4
    assert len(keys) == 1
    assert None not in keys
    assert [found["id"] for found in api.get("/jobs").json()["items"]] == [job.id]


def test_what_must_not_happen_twice_is_not_repeated(client: Any, between: Between) -> None:
    job = client.jobs.create(BODY)
    client.jobs.cancel(job)
    between.plan, between.seen = ["lost"], []
    with pytest.raises(UnreachableError, match=r"the connection to .* failed"):
        client.jobs.retry(job)
    assert len(between.seen) == 1
    client.jobs.cancel(job)
    between.plan, between.seen = [429], []  # it was kept out, so nothing has happened
    assert client.jobs.retry(job).status == "queued"
    assert len(between.seen) == 2


def test_there_is_an_end_to_trying(client: Any, between: Between) -> None:
    between.plan = [503] * 4
    with pytest.raises(UnavailableError) as error:
        client.overview()
    assert (error.value.status, error.value.retry_after) == (503, 0.0)
    assert len(between.seen) == 4
    between.plan, between.seen = [429] * 4, []
    with pytest.raises(TooManyRequestsError):
        client.overview()
    between.plan, between.seen = [404], []
    with pytest.raises(Exception, match="404"):
        client.overview()
    assert len(between.seen) == 1


def test_the_service_says_how_long_to_wait(between: Between, connect: Any) -> None:
    """The client's own first pause is of 0.625 seconds at most."""
    patient = connect(between.url, retries=1)
    between.plan, between.wait = [503], 1
    began = time.monotonic()
    patient.overview()
    assert time.monotonic() - began >= between.wait
    assert len(between.seen) == 2


def test_what_answers_something_else_is_said(client: Any, between: Between) -> None:
    between.plan = [200, 200]
    with pytest.raises(ClientError, match="did not answer with JSON; is it a SlimGPT service"):
        client.overview()
    with pytest.raises(ClientError, match="the stream of the job's events was empty"):
        client.jobs.wait("job_1")


def test_a_download_goes_on_after_the_connection_was_cut(
    client: Any, between: Between, finished: dict[str, Any], tmp_path: Path
) -> None:
    files = client.jobs.artifacts(finished["id"])
    between.plan = ["half"] * 3 + ["lost"]
    where = client.jobs.download(finished["id"], tmp_path / "out", files=files)
    for path, content in finished["files"].items():
        assert (where / path).read_bytes() == content


def test_an_upload_is_sent_again_from_its_beginning(
    client: Any, between: Between, tmp_path: Path
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("Once upon a time. " * 50_000)
    between.plan = ["lost"]
    assert client.calibration_sets.upload(text).size == text.stat().st_size
    assert len(between.seen) == 2


def test_a_stream_that_was_cut_is_opened_again(
    client: Any, between: Between, api: httpx.Client
) -> None:
    job = client.jobs.create(BODY)
    api.post(f"/v1/jobs/{job.id}/cancel")
    between.plan = ["half", "lost"]
    assert client.jobs.wait(job, check=False).status == "cancelled"


def test_a_stream_says_that_the_service_is_away_and_that_it_is_back(
    connect: Any, base_url: str, api: httpx.Client
) -> None:
    with Proxy(httpx.URL(base_url).port or 0) as proxy:
        client = connect(f"http://127.0.0.1:{proxy.port}", retries=0)
        job = client.jobs.create(BODY)
        said = []
        for event in client.jobs.stream(job):
            said.append(event)
            if len(said) == 1:
                proxy.refuse()
            elif isinstance(event, Outage) and not event.over:
                proxy.refusing = False
            elif isinstance(event, Outage):
                api.post(f"/v1/jobs/{job.id}/cancel")
    queued, away, back, *_, last = said
    assert (queued.status, last.status) == ("queued", "cancelled")
    assert (away.over, back.over, back.since) == (False, True, away.since)
    assert sum(isinstance(event, Outage) for event in said) == 2
