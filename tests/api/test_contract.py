"""The API answers as its OpenAPI says, whatever it is asked: schemathesis over a real uvicorn.

Without keys on SQLite all phases; with keys on PostgreSQL fewer requests, without the coverage of
every bound. What is not checked, and why, stands in `schemathesis.toml`.

Schemathesis runs as a process of its own: as a plugin it would slow every start of pytest. The seed
is fixed, so that a failure is there again at the next run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.http.problem_kinds import KINDS
from jobs.files.artifacts import Artifacts
from jobs.settings import Settings
from jobs.store.database import make_engine
from jobs.store.keys import Keys
from jobs.store.store import Store
from slimgpt.events import Result
from tests.api.conftest import BODY, base_url

__all__ = ["base_url"]
PEPPER = "a pepper that only the tests know, of some length"
CONFIG = Path(__file__).with_name("schemathesis.toml")
HOOKS = "schemathesis_hooks"
SECONDS = 460
URL = "https://93.184.215.14/hook"  # a public address: nothing is resolved, nothing is sent
PLAIN = {"Content-Type": "text/plain"}
OUTLOOK = {
    "type": "plan",
    "parameters_before": 100,
    "parameters_after": 75,
    "ratio_achieved": 0.25,
    "channel_multiple": 32,
    "bytes_before": 200,
    "bytes_after": 150,
    "peak_memory_bytes": 1000,
    "activation_bytes": 10,
    "provisional": False,
    "layers": [],
}
RESULT = Result(
    parameters_before=100,
    parameters_after=75,
    ratio_achieved=0.25,
    seconds=1.5,
    peak_memory_bytes=1000,
)


@pytest.fixture(params=["off", "keys"])
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """Of a service that asks for keys, on PostgreSQL, and of one that does not, on SQLite."""
    plan = ("-S", "-c", f"print({json.dumps(json.dumps(OUTLOOK))})")
    limits = {"max_active_jobs": 10000, "requests_per_minute": 1000000, "max_webhooks": 1000}
    given = settings.model_dump() | limits
    given |= {"engine_command": (sys.executable, *plan), "key_pepper": PEPPER}
    if request.param == "keys":
        url = request.getfixturevalue("postgres_url")
        given |= {"auth": "keys", "loopback_only": False, "database_url": url}
    return Settings(**given)


@pytest.fixture
def key(settings: Settings) -> str | None:
    """What opens the service, if it needs opening."""
    if settings.auth == "off":
        return None
    engine = make_engine(settings.database_url.get_secret_value())
    try:
        return Keys(engine, PEPPER).create("fuzzer", admin=True).text
    finally:
        engine.dispose()


@pytest.fixture
def api(base_url: str, key: str | None) -> Iterator[httpx.Client]:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=base_url, headers=headers, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
def worker(base_url: str, settings: Settings, tmp_path: Path) -> Iterator[None]:
    """Ends jobs as soon as they are posted, every other with a result, so that streams end."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    engine = make_engine(settings.database_url.get_secret_value())
    over = threading.Event()
    thread = threading.Thread(target=_work, args=(Store(engine), settings, folder, over))
    thread.start()
    yield
    over.set()
    thread.join()
    engine.dispose()


def _work(store: Store, settings: Settings, folder: Path, over: threading.Event) -> None:
    artifacts = Artifacts(settings.artifacts_url)
    done = 0
    while not over.wait(0.05):
        while (claim := store.claim_next("tester")) is not None:
            done += 1
            job_id, epoch = claim.job.id, claim.epoch
            if done % 2:
                prefix = f"jobs/{job_id}/{epoch}"
                artifacts.put(prefix, folder)
                result = RESULT.model_dump()
                store.finish(job_id, epoch, prefix=prefix, result=result, report={"by": "test"})
            else:
                store.fail(job_id, epoch, {"code": "internal-error", "message": "told to fail"})


def there_is(api: httpx.Client) -> dict[str, list[str]]:
    """What can be asked for, by the parameter that names it."""
    posted = [api.post("/jobs", json=BODY).json()["id"] for _ in range(8)]
    texts = [api.post("/calibration-sets", content=f"text {n}", headers=PLAIN) for n in range(4)]
    hooks = [api.post("/webhooks", json={"url": f"{URL}/{n}"}) for n in range(4)]
    hook = hooks[0].json()["id"]
    told = [api.post(f"/webhooks/{hook}/test") for _ in range(2)]
    return {
        "job_id": posted,
        "path": ["config.json"],
        "set_id": [text.json()["id"] for text in texts],
        "webhook_id": [hook] * 4 + [other.json()["id"] for other in hooks[1:]],
        "delivery_id": [delivery.json()["id"] for delivery in told],
        "kind": sorted(KINDS),
    }


def config(folder: Path, known: dict[str, list[str]]) -> Path:
    """The configuration: what is written beside this file, and what there is to ask for."""
    lines = [CONFIG.read_text()]
    for name, values in known.items():
        lines += [f"[dictionaries.{name}]", f"values = {json.dumps(values)}"]
    lines.append("[parameters]")
    for name in known:
        lines.append(f'"path.{name}" = {{ dictionary = "{name}", probability = 0.6 }}')
    path = folder / "schemathesis.toml"
    path.write_text("\n".join(lines))
    return path


@pytest.mark.timeout(500)
def test_every_answer_is_documented(
    base_url: str, api: httpx.Client, key: str | None, worker: None, tmp_path: Path
) -> None:
    given = config(tmp_path, there_is(api))
    less = ["--max-examples", "5", "--phases", "examples,fuzzing,stateful"]
    asked = [] if key is None else ["--header", f"Authorization: Bearer {key}", *less]
    program = Path(sys.executable).with_name("schemathesis")
    # From a folder of its own: `http` beside them would hide the standard library's.
    shutil.copy(CONFIG.with_name(f"{HOOKS}.py"), tmp_path)
    done = subprocess.run(
        [program, "--config-file", given, "run", f"{base_url}/openapi.json", *asked],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "SCHEMATHESIS_HOOKS": HOOKS},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    operations = sum(map(len, api.get("/openapi.json").json()["paths"].values()))
    assert f"Tested: {operations}" in done.stdout
