"""Metrics: read like Prometheus does, by whom they are meant for, whatever is down."""

from __future__ import annotations

import random
import re
import socket
import string
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from pydantic import SecretStr
from starlette.testclient import TestClient

from api.app import create_app
from jobs.settings import BadSettings, Settings, load
from jobs.states import Status
from jobs.store.database import make_engine
from jobs.store.keys import Keys
from jobs.store.store import Store
from tests.api.http.test_problems import problem
from tests.api.test_auth import PEPPER
from tests.jobs.conftest import SPEC
from tests.servers import free_port

TOKEN = "a token of the tests alone"


@contextmanager
def local(settings: Settings) -> Iterator[TestClient]:
    """A client on the machine itself, without keys."""
    app = create_app(settings)
    address = ("127.0.0.1", 5000)
    with TestClient(app, base_url="http://127.0.0.1", client=address) as client:
        yield client


def samples(answer: Any) -> list[Sample]:
    """Everything that was said, parsed by Prometheus's own library."""
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    return [s for family in text_string_to_metric_families(answer.text) for s in family.samples]


def value(said: list[Sample], name: str, **labels: str) -> float:
    """The one sample of that name and those labels."""
    found = [s.value for s in said if s.name == name and labels.items() <= s.labels.items()]
    assert len(found) == 1, (name, labels, found)
    return found[0]


def names(said: list[Sample]) -> set[str]:
    return {sample.name for sample in said}


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def test_jobs_are_counted_in_the_database(settings: Settings, database_url: str) -> None:
    there = settings.model_copy(update={"database_url": SecretStr(database_url)})
    engine = make_engine(database_url)
    store = Store(engine, lease_seconds=-1.0)
    with local(there) as client:
        empty = samples(client.get("/metrics"))
    assert [value(empty, "slimgpt_jobs", status=s) for s in Status] == [0.0] * len(Status)
    assert value(empty, "slimgpt_queue_oldest_seconds") == 0
    queued, running, cancelled = (store.create(SPEC).id for _ in range(3))
    assert store.claim(running, "tester")
    store.request_cancel(cancelled)
    with local(there) as client:
        client.app.state.services.queue.publish(queued)  # type: ignore[attr-defined]
        said = samples(client.get("/metrics"))
    counted = {s.labels["status"]: s.value for s in said if s.name == "slimgpt_jobs"}
    assert counted == dict.fromkeys(map(str, Status), 0.0) | {
        "queued": 1.0,
        "running": 1.0,
        "cancelled": 1.0,
    }
    assert value(said, "slimgpt_queue_oldest_seconds") > 0
    assert value(said, "slimgpt_expired_leases") == 1
    assert value(said, "slimgpt_queue_messages") == 1
    assert value(said, "slimgpt_up", part="database") == 1
    assert value(said, "slimgpt_up", part="redis") == 1
    for place in ("artifacts", "work"):
        free = value(said, "slimgpt_disk_free_bytes", place=place)
        assert 0 < free <= value(said, "slimgpt_disk_size_bytes", place=place)
    engine.dispose()


@pytest.fixture
def guarded(settings: Settings) -> Settings:
    asked: dict[str, Any] = {"auth": "keys", "key_pepper": PEPPER, "metrics_token": TOKEN}
    return Settings(**{**settings.model_dump(), **asked, "loopback_only": False})


def test_metrics_are_for_admins_and_the_holder_of_the_token(guarded: Settings) -> None:
    engine = make_engine(guarded.database_url.get_secret_value())
    keys = Keys(engine, PEPPER)
    with TestClient(create_app(guarded)) as client:
        problem(client.get("/metrics"), "unauthorized")
        problem(client.get("/metrics", headers=bearer(TOKEN + "!")), "unauthorized")
        problem(client.get("/metrics", headers=bearer(keys.create("ada").text)), "not-admin")
        admin = keys.create("root", admin=True).text
        assert samples(client.get("/metrics", headers=bearer(admin)))
        assert samples(client.get("/metrics", headers=bearer(TOKEN)))
        problem(client.get("/jobs", headers=bearer(TOKEN)), "unauthorized")  # opens nothing else
    closed = guarded.model_copy(update={"metrics_token": SecretStr("")})
    with TestClient(create_app(closed)) as client:
        problem(client.get("/metrics", headers=bearer("")), "unauthorized")
    engine.dispose()


def test_a_short_token_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIMGPT_METRICS_TOKEN", "guess me")
    with pytest.raises(BadSettings, match=r"^SLIMGPT_METRICS_TOKEN: .*at least 16") as refused:
        load()
    assert "guess me" not in str(refused.value)


@pytest.mark.parametrize("how", ["refuses", "is silent"])
def test_a_scrape_answers_while_the_parts_are_down(guarded: Settings, how: str) -> None:
    with socket.socket() as silent:  # accepts, and says nothing
        silent.bind(("127.0.0.1", 0))
        if how == "is silent":
            silent.listen(50)
        port = silent.getsockname()[1]
        down = guarded.model_copy(
            update={
                "database_url": SecretStr(f"postgresql+psycopg://ann@127.0.0.1:{port}/jobs"),
                "redis_url": SecretStr(f"redis://127.0.0.1:{free_port()}/0"),
            }
        )
        with TestClient(create_app(down)) as client:
            client.get("/healthz")
            said = samples(client.get("/metrics", headers=bearer(TOKEN)))
            again = samples(client.get("/metrics", headers=bearer(TOKEN)))
    for seen in (said, again):
        assert value(seen, "slimgpt_up", part="database") == 0
        assert value(seen, "slimgpt_up", part="redis") == 0
        assert not {"slimgpt_jobs", "slimgpt_queue_messages"} & names(seen)
        assert value(seen, "slimgpt_http_requests_total", route="/healthz") == 1


def test_requests_are_counted_by_template_and_the_rest_together(settings: Settings) -> None:
    chance = random.Random(7)
    letters = string.ascii_letters + string.digits + "/.-_%~"
    with local(settings) as client:
        client.get("/jobs/nothing")
        client.get("/jobs/nothing/artifacts/a/b/c")
        client.get("/nowhere")
        client.request("BREW", "/jobs")
        client.get("/metrics")
        before = samples(client.get("/metrics"))
        for _ in range(1000):
            path = "".join(chance.choices(letters, k=chance.randrange(1, 40)))
            client.request(chance.choice(["GET", "BREW", path[:5].upper() or "X"]), f"/x{path}")
            client.get(f"/jobs/{path.replace('/', '')}")
        after = samples(client.get("/metrics"))
    routes = {s.labels["route"] for s in after if s.name == "slimgpt_http_requests_total"}
    known = {"/jobs/{job_id}", "/jobs/{job_id}/artifacts/{path:path}", "/jobs", "/metrics"}
    assert routes <= known | {"unmatched", "/jobs/{job_id}/artifacts"}
    assert known <= routes
    methods = {s.labels["method"] for s in after if s.name == "slimgpt_http_requests_total"}
    assert methods <= {"GET", "HEAD", "PUT", "POST", "DELETE", "other"}
    assert len(after) <= len(before) + 60  # a few statuses and methods, whatever was asked
    unmatched = [
        s.value
        for s in after
        if s.name == "slimgpt_http_requests_total" and s.labels["route"] == "unmatched"
    ]
    assert sum(unmatched) > 900


def test_static_files_are_counted_by_their_folder(settings: Settings) -> None:
    with local(settings) as client:
        assert client.get("/static/app.js").is_success
        assert client.get("/static/pages/none.js").status_code == 404
        (docs,) = re.findall(r'src="(/[^"]+\.js)"', client.get("/docs").text)
        assert client.get(docs).is_success
        assert client.get("/staticky").status_code == 404
        client.get("/metrics")
        seen = samples(client.get("/metrics"))
    routes = {
        (s.labels["route"], s.labels["status"]): s.value
        for s in seen
        if s.name == "slimgpt_http_requests_total"
    }
    folder = "/" + docs.split("/")[1]
    assert routes["/static/{path}", "200"] == routes["/static/{path}", "404"] == 1
    assert routes[f"{folder}/{{path}}", "200"] == 1
    assert routes["unmatched", "404"] == 1


def test_openmetrics_is_answered_to_who_asks(settings: Settings) -> None:
    with local(settings) as client:
        accept = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
        answer = client.get("/metrics", headers=accept)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
