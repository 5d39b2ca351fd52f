"""A migration goes between two releases: both must work on what it leaves.

`docs/deployment.md` promises that the last release's workers go on while the new ones start, and
that the new release finds everything that the old one wrote. The released code itself runs here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from jobs.states import Status
from jobs.store.database import make_engine, upgrade
from jobs.store.store import Store
from tests.jobs.conftest import PLAN, SPEC, layer

ROOT = Path(__file__).resolve().parents[2]
FLOW = Path(__file__).with_name("released_flow.py")
UNTAGGED = "2eab60027c15a2fb1192a112b2b942eedc1b68d5"
"""What stands for the last release as long as no version is tagged."""


def git(*words: str) -> bytes:
    """Git's answer about this checkout; empty where there is no git, or it refuses."""
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=False)
    except FileNotFoundError:
        return b""
    return done.stdout if done.returncode == 0 else b""


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., dict[str, Any]]]:
    """The code of the last release: of the newest tag `v*`, or of the commit that is pinned.

    Called with a database's URL, and perhaps a job's id, it answers what it wrote there.
    """
    tags = git("tag", "--list", "v*", "--sort=-version:refname").decode().split()
    revision = tags[0] if tags else UNTAGGED
    packed = git("archive", revision, "jobs", "migrations", "slimgpt")
    if not packed:
        pytest.skip(f"{revision} is not in this clone: `git fetch --unshallow --tags` brings it")
    folder = tmp_path_factory.mktemp("released")
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        [sys.executable, str(FLOW)],
        env=environment,
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def ask(*words: str) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        print(*words, file=process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer

    with process:
        yield ask


@pytest.fixture
def todays(bare_url: str) -> Iterator[Store]:
    """A store of today's code; its schema is made by the test."""
    store = Store(make_engine(bare_url), lease_seconds=3600)
    yield store
    store.engine.dispose()


def test_the_last_release_works_on_todays_schema(
    released: Callable[..., dict[str, Any]], bare_url: str, todays: Store
) -> None:
    upgrade(bare_url)
    posted = todays.create(SPEC)
    wrote = released(bare_url, posted.id)
    job = todays.get(posted.id)
    assert job is not None
    if wrote["understood"]:
        assert (job.status, job.worker) == (Status.RUNNING, "released")
    else:  # a field that the release does not know
        assert job.error is not None
        assert job.error["code"] == "spec-not-understood"
    go_on(todays, wrote)


def test_what_the_last_release_wrote_is_there_after_the_migration(
    released: Callable[..., dict[str, Any]], bare_url: str, todays: Store
) -> None:
    wrote = released(bare_url)
    upgrade(bare_url)
    go_on(todays, wrote)


def go_on(store: Store, wrote: dict[str, Any]) -> None:
    """Read what the release wrote, and take over what it left."""
    done = store.get(wrote["done"])
    assert done is not None
    assert (done.status, done.layers_done, done.artifacts_prefix) == (
        Status.SUCCEEDED,
        2,
        "published/1",
    )
    assert done.warnings == [{"message": "careful", "layer": 1}]
    assert [row.layer for row in store.layers(done.id)] == [0, 1]
    assert store.report(done.id) == {"verdict": "good"}
    assert done.spec == SPEC
    held = store.get(wrote["held"])
    assert held is not None
    assert store.renew(held.id, held.lease_epoch) is not None
    assert store.planned(held.id, held.lease_epoch, PLAN)
    assert store.layer_done(held.id, held.lease_epoch, layer(0))
    assert store.finish(held.id, held.lease_epoch, prefix="published/1", result={}, report={})
    claim = store.claim_next("todays")
    assert claim is not None
    assert (claim.job.id, claim.job.metadata) == (wrote["left"], {"n": "left"})
    assert store.create(SPEC, metadata={"n": "key"}, idempotency_key="k").id == wrote["cancelled"]
    statuses = {job.id: job.status for job in store.list().items}
    assert statuses[wrote["cancelled"]] == Status.CANCELLED
    assert statuses[held.id] == Status.SUCCEEDED
