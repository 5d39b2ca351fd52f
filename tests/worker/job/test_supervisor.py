"""The supervisor against real processes that speak the engine's protocol, well or badly."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
from pathlib import Path

import pytest
from sqlalchemy import event

from jobs.files.transfer import Stop
from jobs.states import Status
from jobs.store.records import Job
from tests.progress import entries, snapshot
from tests.servers import wait_until
from tests.worker.conftest import SPEC, Bench
from worker.job.supervisor import Outcome


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def child_of_engine(bench: Bench, job: Job) -> int:
    """Process id of what the engine `family` started."""

    def told() -> list[str]:
        messages = [str(warning["message"]) for warning in bench.again(job).warnings]
        return [message for message in messages if message.startswith("child ")]

    return int(wait_until(told, "the engine's child")[0].split()[1])


@pytest.mark.parametrize("behaviour", ["good", "garbage", "chatty"])
def test_success_publishes_everything(bench: Bench, behaviour: str) -> None:
    job = bench.job()
    assert bench.supervisor(behaviour).run(job.id) is Outcome.SUCCEEDED
    done = bench.again(job)
    assert (done.status, done.layers_done, done.layers_total) == (Status.SUCCEEDED, 3, 3)
    assert done.artifacts_prefix == f"jobs/{job.id}/1"
    assert done.plan is not None
    assert done.plan["parameters_after"] == 4500
    assert done.warnings == [{"message": "mind the gap", "layer": 2}]
    assert bench.store.report(job.id) == {"verdict": "smaller", "perplexity": None}
    assert [layer.layer for layer in bench.store.layers(job.id)] == [0, 1, 2]
    with bench.artifacts.open(done.artifacts_prefix, "model.safetensors") as file:
        assert file.read() == b"012"
    assert bench.work_folders() == []


def test_progress_tells_the_whole_story(bench: Bench) -> None:
    job = bench.job()
    bench.supervisor("good").run(job.id)
    kinds = [json.loads(entry.data) for entry in entries(bench.progress, job.id)]
    assert [(k["type"], k.get("status")) for k in (kinds[0], kinds[-1])] == [
        ("status", "running"),
        ("status", "succeeded"),
    ]
    assert [k["layer"] for k in kinds if k["type"] == "layer_finished"] == [0, 1, 2]
    known = snapshot(bench.progress, job.id)
    assert known is not None
    assert (known.stage, known.layers_done, known.percent) == ("publish", 3, 100.0)


def test_a_second_message_does_nothing(bench: Bench) -> None:
    job = bench.job()
    bench.supervisor("good").run(job.id)
    before = bench.again(job)
    assert bench.supervisor("crash").run(job.id) is Outcome.DUPLICATE
    assert bench.again(job) == before
    assert bench.supervisor("good").run("job_unknown") is Outcome.DUPLICATE


@pytest.mark.parametrize(
    ("behaviour", "code", "words"),
    [
        ("fail", "calibration-error", "the text is too short"),
        ("crash", "engine-crashed", "RuntimeError: boom in layer 1"),
        ("silent-exit", "engine-protocol", "without a result"),
        ("late-crash", "engine-crashed", "status 7"),
        ("no-report", "engine-protocol", "report.json"),
        ("escape", "engine-protocol", "not a folder below"),
        ("link", "publish-failed", "'passwords' is neither a file nor a folder"),
    ],
)
def test_failures_say_what_happened(bench: Bench, behaviour: str, code: str, words: str) -> None:
    job = bench.job()
    assert bench.supervisor(behaviour).run(job.id) is Outcome.FAILED
    failed = bench.again(job)
    assert failed.status is Status.FAILED
    assert failed.error is not None
    assert failed.error["code"] == code
    assert words in failed.error["message"]
    assert failed.artifacts_prefix is None
    assert not list(Path(bench.settings.artifacts_url).rglob("*.*"))
    engine = bench.settings.work_root / job.id / "engine"
    assert [path.name for path in engine.iterdir()] == ["layers"]  # for a retry, for some days
    assert bench.store.expire_layers(0) == [job.id]
    bench.supervisor("good").run(bench.job().id)
    assert bench.work_folders() == []


def test_an_engine_that_is_killed_costs_an_attempt_and_no_layer(bench: Bench) -> None:
    job = bench.job()
    assert bench.supervisor("killed-once").run(job.id) is Outcome.KILLED
    back = bench.again(job)
    assert (back.status, back.attempt, back.worker, back.error) == (Status.QUEUED, 1, None, None)
    told = " ".join(str(warning["message"]) for warning in back.warnings)
    assert "signal 9 (SIGKILL) during stage prune, after layer 1 of 3, after it used up to" in told
    assert "resumes after its last finished layer" in told
    assert bench.store.undispatched(0) == [job.id]
    assert bench.supervisor("killed-once").run(job.id) is Outcome.SUCCEEDED
    done = bench.again(job)
    assert (done.attempt, done.layers_done) == (2, 3)
    assert [layer.resumed for layer in bench.store.layers(job.id)] == [True, False, False]


def test_one_that_is_killed_twice_in_one_place_fails_its_job_with_the_memory(bench: Bench) -> None:
    job = bench.job()
    assert bench.supervisor("killed").run(job.id) is Outcome.KILLED
    assert bench.supervisor("killed").run(job.id) is Outcome.FAILED
    failed = bench.again(job)
    assert failed.error is not None
    assert failed.attempt == 2
    assert failed.error["code"] == "engine-killed"
    said = "for the second time during stage prune, after layer 1 of 3, after it used up to"
    assert said in failed.error["message"]
    # Linux counts what the parent had at the fork, and that is this process with its torch.
    # Nobody ran out of memory, which the system says or does not tell.
    assert "iB of memory: the system d" in failed.error["message"]
    assert "use fewer or shorter calibration sequences" not in failed.error["hint"]


def test_one_that_is_killed_in_the_last_attempt_fails_its_job(bench: Bench) -> None:
    bench.store.max_attempts = 1
    job = bench.job()
    assert bench.supervisor("killed").run(job.id) is Outcome.FAILED
    failed = bench.again(job)
    assert failed.error is not None
    assert "in the job's last attempt during stage prune" in failed.error["message"]


@pytest.mark.parametrize("share", ["off", "on"])
@pytest.mark.parametrize("anew", [False, True])
def test_a_failed_job_that_is_retried_goes_on_from_its_layers_unless_it_is_to_start_anew(
    bench: Bench, tmp_path: Path, share: str, anew: bool
) -> None:
    """On its own machine, or on another one that shares the store alone."""
    job = bench.job()
    assert bench.supervisor("crash", None, {"share_layers": share}).run(job.id) is Outcome.FAILED
    assert bench.store.retry(job.id, anew=anew)
    elsewhere = {"work_root": tmp_path / "other"} if share == "on" else {}
    changes = {"share_layers": share, **elsewhere}
    assert bench.supervisor("good", None, changes).run(job.id) is Outcome.SUCCEEDED
    resumed = [layer.resumed for layer in bench.store.layers(job.id)]
    assert resumed == [not anew, False, False]
    assert not list(Path(bench.settings.artifacts_url).glob("work/*"))


def test_layers_of_failed_jobs_make_room_on_a_disk_that_is_full(bench: Bench) -> None:
    job = bench.job()
    bench.supervisor("crash").run(job.id)
    bench.supervisor("good").run(bench.job().id)
    assert bench.work_folders() == [job.id]
    bench.supervisor("good", changes={"min_free_bytes": 1 << 60}).run(bench.job().id)
    assert bench.work_folders() == []


@pytest.mark.parametrize(
    ("limit", "code"),
    [("engine_hang_seconds", "engine-hung"), ("job_time_limit_seconds", "time-limit")],
)
@pytest.mark.parametrize("behaviour", ["hang", "stubborn", "closed"])
def test_deadlines_end_it(bench: Bench, limit: str, code: str, behaviour: str) -> None:
    job = bench.job()
    assert bench.supervisor(behaviour, None, changes={limit: 1.0}).run(job.id) is Outcome.FAILED
    failed = bench.again(job)
    assert failed.error is not None
    assert failed.error["code"] == code


def test_an_engine_that_cannot_start_fails_the_job(bench: Bench) -> None:
    job = bench.job()
    supervisor = bench.supervisor("good")
    supervisor.settings = bench.settings.model_copy(update={"engine_command": ("/no/such/engine",)})
    assert supervisor.run(job.id) is Outcome.FAILED
    failed = bench.again(job)
    assert failed.error is not None
    assert "cannot start" in failed.error["message"]
    assert "/no/such" not in failed.error["message"]  # the log says where


def test_a_full_disk_fails_the_job_and_the_worker_rests(bench: Bench, tmp_path: Path) -> None:
    """It would fail all that is queued, within seconds, while others could do it."""
    job = bench.job()
    (tmp_path / "file").write_text("no folder")
    supervisor = bench.supervisor("good", changes={"work_root": tmp_path / "file" / "work"})
    outcomes = bench.beside(supervisor, job)
    wait_until(lambda: bench.again(job).terminal, "the job has failed")
    resting: list[bool] = []
    supervisor.alive = lambda: resting.append(True)
    wait_until(lambda: len(resting) > 2, "the worker rests, and says that it lives")
    assert outcomes == []
    bench.shutting_down = True
    assert wait_until(lambda: outcomes, "the supervisor ends") == [Outcome.FAILED]
    failed = bench.again(job)
    assert failed.error is not None
    assert failed.error["code"] == "worker-error"
    assert "NotADirectoryError: Not a directory" in failed.error["message"]
    assert str(tmp_path) not in failed.error["message"]  # the worker's disk is not the client's


def test_cancel_stops_the_engine_and_its_children(bench: Bench) -> None:
    job = bench.job()
    answers = bench.beside(bench.supervisor("family"), job)
    child = child_of_engine(bench, job)
    asked = bench.store.request_cancel(job.id)
    assert asked is not None
    assert asked.status is Status.CANCELLING
    assert wait_until(lambda: answers, "the supervisor ends") == [Outcome.CANCELLED]
    assert bench.again(job).status is Status.CANCELLED
    assert gone(child)
    assert bench.work_folders() == []


def test_a_lost_lease_kills_the_engine_and_writes_nothing(bench: Bench) -> None:
    job = bench.job()
    answers = bench.beside(bench.supervisor("family"), job)
    child = child_of_engine(bench, job)
    future = bench.again(job).updated_at.replace(year=2100)
    bench.store.reap(future)
    second = bench.store.claim(job.id, "another")
    assert second is not None
    assert wait_until(lambda: answers, "the supervisor ends") == [Outcome.LOST]
    assert gone(child)
    now = bench.again(job)
    assert (now.status, now.worker, now.lease_epoch) == (Status.RUNNING, "another", 2)


def test_shutdown_gives_the_job_back_and_the_next_attempt_resumes(
    bench: Bench, tmp_path: Path
) -> None:
    job = bench.job()
    gate = tmp_path / "gate"
    answers = bench.beside(bench.supervisor("good", gate), job)
    wait_until(lambda: bench.again(job).layers_done == 1, "the first layer")
    bench.shutting_down = True
    assert wait_until(lambda: answers, "the supervisor ends") == [Outcome.RELEASED]
    back = bench.again(job)
    assert (back.status, back.attempt, back.worker) == (Status.QUEUED, 0, None)

    bench.shutting_down = False
    gate.touch()
    assert bench.supervisor("good", gate).run(job.id) is Outcome.SUCCEEDED
    done = bench.again(job)
    assert (done.attempt, done.lease_epoch, done.layers_done) == (1, 2, 3)
    assert [layer.resumed for layer in bench.store.layers(job.id)] == [True, False, False]
    with bench.artifacts.open(f"jobs/{job.id}/2", "argv.json") as file:
        assert json.load(file)[-1] == "--resume"
    assert done.warnings == [{"message": "mind the gap", "layer": 2}]


def test_a_shutdown_before_the_start_gives_the_job_back(bench: Bench) -> None:
    job = bench.job()
    bench.shutting_down = True
    assert bench.supervisor("good").run(job.id) is Outcome.RELEASED
    assert bench.again(job).attempt == 0


def test_a_folder_in_use_is_left_alone(bench: Bench, tmp_path: Path) -> None:
    """The engine of a stalled worker may still write: the next attempt gets another folder."""
    job = bench.job()
    gate = tmp_path / "gate"
    folder = bench.settings.work_root / job.id
    folder.mkdir()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        gate.touch()
        assert bench.supervisor("good", gate).run(job.id) is Outcome.SUCCEEDED
    assert bench.work_folders() == [job.id]  # in use then; swept when the next job comes
    bench.supervisor("good").run(bench.job().id)
    assert bench.work_folders() == []


def test_the_engine_sees_no_secrets(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIMGPT_DATABASE_URL", "postgresql://user:secret@host/db")
    for name in ("SECRET_ACCESS_KEY", "SESSION_TOKEN", "ENDPOINT_URL", "PROFILE", "CONFIG_FILE"):
        monkeypatch.setenv(f"AWS_{name}", "secret")
    monkeypatch.setenv("HF_HOME", "/somewhere")
    job = bench.job()
    bench.supervisor("good").run(job.id)
    with bench.artifacts.open(f"jobs/{job.id}/1", "environment.json") as file:
        seen = json.load(file)
    assert seen["HF_HOME"] == "/somewhere"
    assert "secret" not in json.dumps(seen)
    assert not [name for name in seen if name.startswith(("SLIMGPT", "AWS", "CELERY"))]


def test_redis_away_is_no_reason_to_fail(bench: Bench) -> None:
    bench.progress.redis.connection_pool.connection_kwargs["port"] = 1
    bench.progress.redis.connection_pool.disconnect()
    job = bench.job()
    assert bench.supervisor("good").run(job.id) is Outcome.SUCCEEDED


def test_a_store_that_is_away_for_a_while_is_waited_for(bench: Bench, tmp_path: Path) -> None:
    """The database file is locked by another for a second; nothing is lost."""

    @event.listens_for(bench.engine, "connect")
    def impatient(connection: object, _record: object) -> None:
        connection.execute("PRAGMA busy_timeout = 50")  # type: ignore[attr-defined]

    bench.engine.dispose()
    job, gate = bench.job(), tmp_path / "gate"
    answers = bench.beside(bench.supervisor("good", gate), job)
    wait_until(lambda: bench.again(job).layers_done == 1, "the first layer")
    blocker = sqlite3.connect(str(bench.engine.url.database), isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    gate.touch()
    time.sleep(1.0)
    blocker.execute("ROLLBACK")
    blocker.close()
    assert wait_until(lambda: answers, "the supervisor ends") == [Outcome.SUCCEEDED]
    assert bench.again(job).layers_done == 3


def test_the_lease_is_renewed_while_the_engine_works(bench: Bench, tmp_path: Path) -> None:
    job, gate = bench.job(), tmp_path / "gate"
    answers = bench.beside(bench.supervisor("good", gate), job)
    wait_until(lambda: bench.again(job).layers_done == 1, "the first layer")
    first = bench.again(job).lease_expires_at
    assert first is not None
    wait_until(lambda: (bench.again(job).lease_expires_at or first) > first, "a renewal")
    assert bench.store.reap() == []
    gate.touch()
    assert wait_until(lambda: answers, "the supervisor ends") == [Outcome.SUCCEEDED]


def test_a_finish_and_a_cancel_never_both(bench: Bench) -> None:
    """Cancelled between the engine's end and the publication: nothing is published."""
    job = bench.job()
    put = bench.artifacts.put

    def put_then_cancel(prefix: str, folder: Path, stop: Stop) -> object:
        published = put(prefix, folder, stop)
        bench.store.request_cancel(job.id)
        return published

    bench.artifacts.put = put_then_cancel  # type: ignore[method-assign,assignment]
    assert bench.supervisor("good").run(job.id) is Outcome.CANCELLED
    assert bench.again(job).status is Status.CANCELLED
    assert not list(Path(bench.settings.artifacts_url).rglob("*.*"))


def test_spec_reaches_the_engine_unchanged(bench: Bench, tmp_path: Path) -> None:
    job, gate = bench.job(), tmp_path / "gate"
    answers = bench.beside(bench.supervisor("good", gate), job)
    wait_until(lambda: bench.again(job).layers_done == 1, "the first layer")
    written = (bench.settings.work_root / job.id / "spec.json").read_text()
    assert type(SPEC).model_validate_json(written) == SPEC
    assert os.stat(bench.settings.work_root / job.id / "lock").st_mode & 0o077 == 0
    gate.touch()
    wait_until(lambda: answers, "the supervisor ends")
