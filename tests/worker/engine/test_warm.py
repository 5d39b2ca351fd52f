"""An engine that waits: what it gets with its job, and what becomes of one that has none."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from pathlib import Path

import pytest

from jobs.environment import engine_environment
from jobs.settings import Settings
from slimgpt.events import Warned
from tests.servers import wait_until
from worker.engine.process import EngineProcess
from worker.engine.warm import Standby, WarmEngine

ROOT = Path(__file__).resolve().parents[3]
ENGINE = [sys.executable, "-m", "slimgpt"]
LISTENER = """
import os, sys, time
from jobs.settings import Settings
from slimgpt.events import Warned
from slimgpt.machine import launch
arguments = launch.awaited(1000, lambda: None)
if arguments is None:
    sys.exit(7)
told = [arguments, os.getcwd(), sys.stdin.read(), os.getpgid(0) == os.getpid()]
print(Warned(message=repr(told)).line(), flush=True)
time.sleep(1000)
"""


def waiting(folder: Path, *command: str) -> WarmEngine:
    """An engine of the command in a folder of its own."""
    (folder / "waits").mkdir()
    environment = engine_environment(os.environ)
    return WarmEngine(command, folder=folder / "waits", environment=environment)


def test_the_job_comes_with_its_folder_and_its_lock(tmp_path: Path) -> None:
    warm = waiting(tmp_path, sys.executable, "-c", LISTENER)
    job, lock = tmp_path / "job", os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    job.mkdir()
    fcntl.flock(lock, fcntl.LOCK_EX)
    process = warm.take(["run", "a b"], folder=job, keep=[lock])
    assert process is not None
    engine = EngineProcess(process)
    event = engine.next_event(60)
    os.close(lock)
    assert isinstance(event, Warned)
    assert "['run', 'a b']" in event.message
    assert event.message.endswith("'', True]")
    assert Path(f"/proc/{engine.pid}/cwd").samefile(job)
    again = os.open(tmp_path / "lock", os.O_RDWR)
    try:
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
        raise AssertionError("the engine does not hold the lock")
    except BlockingIOError:
        engine.close()
    fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(again)


def test_without_a_job_it_ends_with_the_one_who_started_it(tmp_path: Path) -> None:
    warm = waiting(tmp_path, sys.executable, "-c", LISTENER)
    warm._line.close()
    assert warm.process.wait(60) == 7
    warm.close()


def test_one_that_has_ended_takes_no_job(tmp_path: Path) -> None:
    warm = waiting(tmp_path, sys.executable, "-c", "")
    warm.process.wait(60)
    assert warm.take(["run"], folder=tmp_path) is None


def test_the_engine_has_imported_torch_when_its_job_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.engine.warm.AFTER_SECONDS", 0.0)
    warm = waiting(tmp_path, *ENGINE)
    maps = Path(f"/proc/{warm.process.pid}/maps")
    wait_until(lambda: b"libtorch" in maps.read_bytes(), "torch is loaded", 120)
    spec = {"model": "local:model", "ratio": 0.5}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    asked = ["plan", str(tmp_path / "spec.json"), "--models-root", str(ROOT / "examples")]
    process = warm.take(asked, folder=tmp_path)
    assert process is not None
    told, _ = process.communicate(timeout=120)
    assert [json.loads(line)["type"] for line in told.splitlines()] == ["plan"]
    assert process.returncode == 0


def test_one_waits_only_if_it_is_wanted_and_knows_how(settings: Settings) -> None:
    wanted = settings.model_copy()
    for other in (
        settings.model_copy(update={"warm_engine": False}),
        settings.model_copy(update={"engine_command": tuple(ENGINE)}),
    ):
        standby = Standby(other)
        standby.prepare()
        assert standby.taken() is None
    standby = Standby(wanted)
    standby.prepare()
    engine = standby.taken()
    assert engine is not None
    assert standby.taken() is None
    engine.close()
