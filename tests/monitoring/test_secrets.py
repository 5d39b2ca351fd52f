"""Secrets in every setting, failures of every kind: nothing that is written or said holds one."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client

from tests.monitoring.stack import Stack, finish, new_redis
from tests.servers import PostgresServer, RedisServer, free_port, wait_until

CANARIES = {
    "SLIMGPT_KEY_PEPPER": "canary-pepper-0123456789-0123456789",
    "SLIMGPT_METRICS_TOKEN": "canary-metrics-token",
    "AWS_ACCESS_KEY_ID": "AKIACANARYCANARY0001",
    "AWS_SECRET_ACCESS_KEY": "canary/aws+secret/key",
    "AWS_SESSION_TOKEN": "canary-session-token==",
    "HF_TOKEN": "hf_canaryCanaryCanaryCanary01",
    "MY_PROXY_PASSWORD": "canary-of-another-program",
}
PASSWORD = "canary-redis-password"
ENGINE = Path(__file__).with_name("canary_engine.py")


def body(seed: int) -> dict[str, Any]:
    """A request; the engine of these tests does by the seed."""
    calibration = {"source": "c4", "seed": seed}
    return {"model": "local:tiny", "ratio": 0.25, "calibration": calibration}


class Leaks:
    """Everything that was seen, searched for what must not be seen."""

    def __init__(self, *secrets: str) -> None:
        words = [word for secret in secrets for word in (secret, json.dumps(secret)[1:-1])]
        self._secrets = re.compile("|".join(map(re.escape, words)), re.IGNORECASE)
        self.found: list[str] = []

    def look(self, where: str, text: str) -> None:
        """Note every secret in a text, with what stands before it."""
        for match in self._secrets.finditer(text):
            begin = max(0, match.start() - 80)
            self.found.append(f"{where}: {text[begin : match.end()]}")


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A Redis that asks for a password."""
    server = new_redis()
    with server.client() as client:
        client.config_set("requirepass", PASSWORD)
    yield server
    server.close()


@pytest.fixture
def stack(tmp_path: Path, migrated_sqlite: Path, redis: RedisServer) -> Iterator[Stack]:
    shutil.copyfile(migrated_sqlite, tmp_path / "slimgpt.db")
    command = json.dumps([sys.executable, str(ENGINE)])
    url = f"redis://:{PASSWORD}@127.0.0.1:{redis.port}/0"
    environment = {**CANARIES, "SLIMGPT_ENGINE_COMMAND": command, "SLIMGPT_LOG_LEVEL": "debug"}
    made = Stack(tmp_path, url, environment)
    made.start()
    yield made
    made.close()


def test_no_secret_is_seen(stack: Stack, redis: RedisServer) -> None:
    key = stack.key("ada")
    wrong = "slim_0123456789ab_" + "z" * 52
    leaks = Leaks(*CANARIES.values(), PASSWORD, key, key.split("_")[2], wrong, "leak-in-query")
    answers: list[tuple[str, str]] = []
    with stack.client(key) as client:
        client.event_hooks["response"] = [
            lambda r: answers.append((str(r.request.url), f"{r.read()!r} {r.headers}"))
        ]
        jobs = [client.post("/jobs", json=body(seed)).json() for seed in range(3)]
        assert [job.get("status") for job in jobs] == ["queued"] * 3, jobs
        ended = [finish(client, job["id"]) for job in jobs]
        assert [job["status"] for job in ended] == ["failed", "failed", "succeeded"]
        assert "[redacted]" in ended[0]["error"]["message"] + str(ended[0]["warnings"])
        for job in jobs:
            for part in ("", "/status", "/layers", "/events", "/report", "/artifacts"):
                client.get(f"/jobs/{job['id']}{part}")
        client.get(f"/jobs?key={key}&token=leak-in-query")
        client.get(f"/jobs/{key}")
        client.get("/jobs", headers={"Authorization": f"Bearer {wrong}", "X-Request-ID": key})
        client.post("/jobs", content=b"{" + key.encode())
        seen = events(redis)
        redis.kill()
        client.get("/readyz")
        client.post("/jobs", json=body(2))
        wait_until(lambda: "onnection" in stack.log("worker"), "the worker misses Redis", 60)
        written = rows(stack.folder / "slimgpt.db")
        (stack.folder / "slimgpt.db").rename(stack.folder / "away.db")
        (stack.folder / "slimgpt.db").mkdir()
        client.get("/readyz")
        client.post("/jobs", json=body(2))
        scrape = {"Authorization": f"Bearer {CANARIES['SLIMGPT_METRICS_TOKEN']}"}
        client.get("/metrics", headers=scrape)
    stack.close()
    for name in ("api", "worker", "reaper"):
        assert stack.log(name)
        leaks.look(f"log of {name}", stack.log(name))
        stack.entries(name)  # each line is an entry still
    for url, answer in answers:
        if key not in url and wrong not in url:  # an answer may repeat what it was asked
            leaks.look(f"answer of {url}", answer)
    leaks.look("events", seen)
    leaks.look("rows", written)
    assert leaks.found == []


def events(server: RedisServer) -> str:
    """All that Redis holds."""
    url = f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0"
    with redis_client.Redis.from_url(url, decode_responses=True) as client:
        found = []
        for key in client.scan_iter("slimgpt:job:*"):
            kind = client.type(key)
            read = {"stream": client.xrange, "hash": client.hgetall, "string": client.get}
            found.append(f"{key} {read[str(kind)](key)}")
    assert len(found) > 3
    return "\n".join(found)


def rows(database: Path) -> str:
    """All that the database holds."""
    connection = sqlite3.connect(database)
    try:
        dump = "\n".join(connection.iterdump())
    finally:
        connection.close()
    assert "[redacted]" in dump
    return dump


def test_a_database_that_refuses_is_named_without_its_password(
    postgres_server: PostgresServer, tmp_path: Path, redis_url: str
) -> None:
    """A database that does not know us, then none; and no object store: as the API meets them."""
    password = "canary-database-password"
    for port in (postgres_server.port, free_port()):
        folder = tmp_path / str(port)
        url = f"postgresql+psycopg://nobody:{password}@127.0.0.1:{port}/none"
        nowhere = {
            "SLIMGPT_DATABASE_URL": url,
            "SLIMGPT_ARTIFACTS_URL": "s3://bucket/artifacts",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
        }
        stack = Stack(folder, redis_url, {**CANARIES, **nowhere})
        stack.start_api()
        leaks = Leaks(password, *CANARIES.values())
        with stack.client("slim_0123456789ab_" + "z" * 52) as client:
            answers = [client.get(path) for path in ("/readyz", "/jobs", "/healthz")]
        assert [answer.status_code for answer in answers] == [503, 503, 200]
        stack.close()
        leaks.look("log", stack.log("api"))
        for answer in answers:
            leaks.look("answer", answer.text)
        assert leaks.found == []
