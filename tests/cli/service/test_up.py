"""`slimgpt up` as a real process: ready, refused twice, stopped, killed, started again."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import psutil
import pytest
from rich.console import Console

from cli.service.child import Child, Program, stop
from cli.service.embedded_redis import EmbeddedRedis
from cli.service.up import say
from tests.receiver import Receiver
from tests.servers import wait_until
from tests.up import Up, script_engine

BODY = {"model": "local:tiny", "ratio": 0.25}


def prepared(folder: Path, engine: dict[str, str]) -> Up:
    """A home with one model folder, not started."""
    model = folder / "home" / "models" / "tiny"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").touch()
    return Up(folder / "home", settings=engine)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A stack for the tests that leave it running."""
    up = prepared(tmp_path_factory.mktemp("up"), script_engine("well"))
    up.start()
    yield up
    up.close()


def test_it_says_where_all_is(running: Up) -> None:
    said = running.said()
    for what in (
        running.url,
        "models",
        "texts",
        "local:tiny",
        "slimgpt submit",
        "Ctrl-C",
        str(running.home),
    ):
        assert what in said
    assert running.get("/readyz")["status"] == "ready"


def test_submit_watch_and_download_through_it(running: Up, tmp_path: Path) -> None:
    submitted = running.run("submit", "--model", "local:tiny", "--ratio", "0.25", "--watch")
    assert submitted.returncode == 0, submitted.stderr
    job_id = submitted.stdout.split("\n")[0]
    assert "9,000 → 4,500 (50.00% removed)" in submitted.stdout
    downloaded = running.run("download", job_id, str(tmp_path / "out"))
    assert downloaded.returncode == 0, downloaded.stderr
    assert (tmp_path / "out" / "model.safetensors").read_text() == "012"
    wait_until(lambda: f"{job_id} succeeded" in running.said(), "the terminal tells of the job")


def test_a_receiver_on_this_machine_is_told_without_any_set_up(running: Up) -> None:
    receiver = Receiver()
    try:
        made = running.run("webhooks", "create", receiver.url())
        assert made.returncode == 0, made.stderr
        job_id = running.post(BODY).json()["id"]
        (received,) = receiver.wait_for(1)
        message = received.verified(made.stdout.strip())
        assert (message["type"], message["data"]["id"]) == ("job.succeeded", job_id)
        assert message["data"]["result"]["parameters_after"] == 4500
    finally:
        receiver.close()
    assert (running.home / "pepper").stat().st_mode & 0o077 == 0


def test_a_second_one_on_the_same_home_is_refused(running: Up) -> None:
    second = running.run("up", "--home", str(running.home), "--port", "0")
    assert second.returncode == 1
    assert running.url in second.stderr
    assert second.stderr.count("\n") == 1


def test_a_port_in_use_is_one_clear_line(running: Up, tmp_path: Path) -> None:
    taken = running.run("up", "--home", str(tmp_path / "home"), "--port", str(running.port))
    assert taken.returncode == 1
    assert f"port {running.port} cannot be used" in taken.stderr
    assert (taken.stderr.count("\n"), taken.stdout) == (1, "")


def test_of_two_on_one_port_at_once_one_is_ready_and_the_other_refused(tmp_path: Path) -> None:
    both = [prepared(tmp_path / name, script_engine("well")) for name in ("one", "other")]
    for up in both:
        up.port, up.url = both[0].port, both[0].url
        up.begin()
    try:
        refused = wait_until(lambda: [up for up in both if _ended(up)], "one of them ends", 60)
        (ready,) = [up for up in both if up not in refused]
        wait_until(ready.is_ready, "the other one is ready", 120)
        assert refused[0].said().strip() == (
            f"error: port {ready.port} cannot be used (Address already in use); "
            "choose another with --port"
        )
        assert httpx.get(f"{ready.url}/readyz", trust_env=False).is_success
        assert not list(refused[0].home.glob("logs/*.log"))  # nothing of it was started
    finally:
        for up in both:
            up.close()


def _ended(up: Up) -> bool:
    return up.process is not None and up.process.poll() is not None


def test_only_this_machine_can_reach_it(running: Up) -> None:
    assert running.process is not None
    family = [running.process, *running.process.children(recursive=True)]
    listening = [
        connection.laddr.ip
        for process in family
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 2  # the API and Redis
    assert set(listening) == {"127.0.0.1"}


def test_the_embedded_redis_wants_its_password(running: Up) -> None:
    assert running.process is not None
    server = next(
        p for p in running.process.children() if "valkey" in p.name() or "redis" in p.name()
    )
    port = server.net_connections("inet")[0].laddr.port
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"KEYS *\r\n")
        assert b"NOAUTH" in connection.recv(100)


def test_without_descriptors_the_log_stays_short_and_the_service_comes_back(running: Up) -> None:
    assert running.process is not None
    api = next(child for child in running.process.children() if "uvicorn" in child.cmdline())
    before = api.rlimit(psutil.RLIMIT_NOFILE)
    log = running.home / "logs" / "api.log"
    size, words = log.stat().st_size, "out of system resource"
    api.rlimit(psutil.RLIMIT_NOFILE, (api.num_fds() + 20, before[1]))
    with ExitStack() as open_connections:
        for _ in range(100):  # that ask nothing
            connection = socket.create_connection(("127.0.0.1", running.port))
            open_connections.enter_context(connection)
        wait_until(lambda: words in log.read_text(), "no descriptor is left")
        wait_until(lambda: "counted, not written" in log.read_text(), "repeats are counted", 60)
        assert log.read_text().count(words) < 50
        assert log.stat().st_size - size < 200_000
    api.rlimit(psutil.RLIMIT_NOFILE, before)
    wait_until(lambda: running.get("/readyz"), "it serves again")


def test_a_log_that_is_long_is_set_aside_while_all_runs(running: Up) -> None:
    log = running.home / "logs" / "api.log"
    with log.open("ab") as file:
        file.write((b"a line of a flood" * 60 + b"\n") * 11_000)  # more than 10 MiB
    wait_until(lambda: log.with_suffix(".log.1").exists(), "it is set aside")
    wait_until(lambda: log.stat().st_size < 1 << 20, "it is short")
    running.http.get("/jobs", headers={"X-Request-ID": "after-the-flood"})
    wait_until(lambda: "after-the-flood" in log.read_text(), "the API writes on")


@pytest.mark.parametrize("argument", ["uvicorn", "worker", "redis"])
def test_a_process_that_dies_is_reported_and_started_again(running: Up, argument: str) -> None:
    assert running.process is not None
    victim = next(
        child
        for child in running.process.children()
        if argument in child.cmdline() or argument in child.name().replace("valkey", "redis")
    )
    victim.kill()
    name = {"uvicorn": "api"}.get(argument, argument)
    wait_until(
        lambda: f"{name:<7} stopped unexpectedly (killed by SIGKILL)" in running.said(), "a line"
    )

    def serves() -> bool:
        try:
            return running.get("/readyz") is not None
        except httpx.HTTPError:
            return False

    wait_until(serves, "the service is ready again", 60)
    job_id = running.post(BODY).json()["id"]
    assert running.await_status(job_id)["status"] == "succeeded"


def runs(up: Up, script: str) -> bool:
    assert up.process is not None
    return any(script in " ".join(p.cmdline()) for p in up.process.children(recursive=True))


def test_jobs_survive_ctrl_c_and_kill_9_and_no_process_does(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    up = prepared(tmp_path, script_engine("well", str(gate)))
    try:
        up.start()
        running = up.post(BODY).json()["id"]
        up.await_status(running, done=1)
        assert up.end(signal.SIGINT) == 0
        assert up.left() == []
        assert "stopped" in up.said()

        up.start()
        status = up.await_status(running, done=1)
        assert status["attempt"] == 1  # what a planned stop interrupted costs no attempt
        wait_until(lambda: runs(up, "script_engine"), "the engine runs")
        queued = up.post(BODY).json()["id"]
        up.end(signal.SIGKILL)
        wait_until(lambda: not up.left(), "nobody of the family is left", 30)

        gate.touch()
        up.start()
        for job_id in (running, queued):
            assert up.await_status(job_id)["status"] == "succeeded"
        assert up.end(signal.SIGTERM) == 0
        assert up.left() == []
    finally:
        up.close()


def test_a_database_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    up = prepared(tmp_path, {})
    (up.home / "slimgpt.db").write_bytes(b"no database" * 1000)
    ended = up.run("up", "--home", str(up.home), "--port", "0")
    assert ended.returncode == 1
    assert "the database" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_setting_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    up = prepared(tmp_path, {"SLIMGPT_LEASE_SECONDS": "soon"})
    ended = up.run("up", "--home", str(up.home), "--port", "0")
    assert ended.returncode == 1
    assert "SLIMGPT_LEASE_SECONDS" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_terminal_that_takes_no_more_does_not_keep_it_from_stopping() -> None:
    terminal = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115 - can't be closed
    say(Console(file=terminal), "up", "stopping")
    with suppress(OSError):
        terminal.close()


def test_redis_starts_empty_when_its_files_are_unreadable(tmp_path: Path) -> None:
    folder, logs = tmp_path / "redis", tmp_path / "logs"
    (folder / "appendonlydir").mkdir(parents=True)
    logs.mkdir()
    manifest = folder / "appendonlydir" / "appendonly.aof.manifest"
    manifest.write_text("this is no manifest\n")
    redis = EmbeddedRedis(folder)
    child = Child(redis.program(), logs)
    said: list[str] = []
    redis.start(child, said.append)
    try:
        assert "its data were moved to" in said[0]
        assert any(
            (path / "appendonlydir").is_dir() for path in tmp_path.glob("redis.unreadable-*")
        )
    finally:
        stop([child], lambda: False)


def test_redis_takes_another_port_when_its_own_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "redis"
    folder.mkdir()
    (folder / "data").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        redis = EmbeddedRedis(folder, port)
        child = Child(redis.program(), tmp_path)
        said: list[str] = []
        redis.start(child, said.append)
        try:
            assert (said, redis.port == port) == ([], False)
            assert (folder / "data").exists()
        finally:
            stop([child], lambda: False)


def test_a_child_that_will_not_stop_is_killed_with_its_children(tmp_path: Path) -> None:
    deaf = "trap '' TERM; sleep 1000 & sleep 1000"
    child = Child(Program("deaf", ["sh", "-c", deaf], {}, grace=0.2), tmp_path)
    child.start()
    assert child.process is not None
    top = psutil.Process(child.process.pid)
    wait_until(lambda: len(top.children(recursive=True)) == 2, "two sleepers")
    sleepers = top.children(recursive=True)
    stop([child], lambda: False)
    assert child.exit_status() == -signal.SIGKILL
    assert not [sleeper for sleeper in sleepers if sleeper.is_running()]
