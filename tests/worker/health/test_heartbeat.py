"""A worker's sign of life: there while it consumes or works, gone with either."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from jobs.settings import Settings
from tests.servers import RedisServer, wait_until
from tests.worker.test_service import Service
from worker.health import heartbeat
from worker.health.__main__ import look
from worker.health.heartbeat import Heartbeat


@pytest.fixture
def service(tmp_path: Path, migrated_sqlite: Path) -> Iterator[Service]:
    """A service whose worker can be left idle."""
    shutil.copyfile(migrated_sqlite, tmp_path / "slimgpt.db")
    redis = RedisServer()
    redis.start()
    settings = Settings(home=tmp_path, redis_url=redis.url, device="cpu", lease_seconds=2.0)
    made = Service(settings, tmp_path, redis)
    yield made
    made.close()
    redis.close()


def ask(service: Service) -> tuple[int, str]:
    """The health command's exit status and words."""
    command = [sys.executable, "-m", "worker.health"]
    done = subprocess.run(
        command, env=service.environment(), capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout + done.stderr


def await_beat(heart: Heartbeat) -> None:
    """Wait for a beat that is not made yet."""
    before = heart.at() or 0.0
    wait_until(lambda: (heart.at() or 0.0) > before, "another beat", 90)


def test_a_worker_is_healthy_while_it_polls_or_works(service: Service) -> None:
    assert ask(service)[0] == 1
    worker = service.start_worker()
    heart = heartbeat.of(service.settings.work_root, worker.pid)
    await_beat(heart)
    await_beat(heart)
    code, words = ask(service)
    assert (code, f"worker {worker.pid} works" in words) == (0, True)

    job = service.submit()
    service.await_layer(job)
    service.redis.kill()
    await_beat(heart)  # it works: nobody should end it
    service.redis.start()
    service.open_gate(job)
    wait_until(lambda: service.now(job).terminal, "the job is done", 60)
    service.redis.kill()
    time.sleep(3)  # what was under way
    silent_since = heart.at()
    time.sleep(3)
    assert heart.at() == silent_since  # idle, and deaf
    service.redis.start()
    await_beat(heart)

    worker.send_signal(signal.SIGTERM)
    assert service.workers[-1].wait(60) == 0
    assert not heart.path.exists()
    assert ask(service)[0] == 1


def test_a_silent_worker_is_unhealthy_and_a_dead_one_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = heartbeat.of(tmp_path, os.getpid())
    gone = heartbeat.of(tmp_path, 2**22 + 1)  # beyond every process id
    try:
        mine.beat()
        gone.beat()
        assert set(heartbeat.all_of(tmp_path)) == {os.getpid(), 2**22 + 1}
        assert look(tmp_path)[0]
        assert not look(tmp_path / "another")[0]
        with monkeypatch.context() as patched:
            patched.setattr("worker.health.__main__.SILENT_SECONDS", -1.0)
            healthy, words = look(tmp_path)
        assert (healthy, "is silent" in words, str(2**22 + 1) in words) == (False, True, False)
        before_us = psutil.Process().create_time() - 60
        os.utime(mine.path, (before_us, before_us))  # another worker's, whose number we have now
        healthy, words = look(tmp_path)
        assert (healthy, "is silent" in words) == (False, False)
    finally:
        mine.stop()
        gone.stop()


def test_nothing_is_written_through_a_strangers_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    heart = Heartbeat(tmp_path / "link" / "beat")
    heart.beat()  # a worker goes on without
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert heart.seconds() is None
