"""The kernel's counters, as it writes them, and those of this machine."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.servers import wait_until
from worker.engine import oom_kills
from worker.engine.oom_kills import OomKills
from worker.engine.process import EngineProcess, start

V2 = "0::/kubepods/pod1/worker\n"
V1 = "5:devices:/\n4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n"


def system(root: Path, group: str, files: dict[str, str]) -> Path:
    written = {"proc/self/cgroup": group, **files}
    for name, text in written.items():
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return root


def events(kills: int) -> str:
    return f"low 0\nhigh 12\nmax 340\noom 3\noom_kill {kills}\noom_group_kill 0\n"


@pytest.mark.parametrize("place", ["sys/fs/cgroup/kubepods/pod1/worker", "sys/fs/cgroup"])
def test_a_group_of_version_2_is_read_from_outside_and_from_within(
    place: str, tmp_path: Path
) -> None:
    files = {f"{place}/memory.events": events(2), f"{place}/memory.max": "4294967296\n"}
    files["proc/vmstat"] = "nr_free_pages 12\noom_kill 7\n"
    assert oom_kills.read(system(tmp_path, V2, files)) == OomKills(2, 7, 4 << 30)


def test_a_group_of_version_1_is_read(tmp_path: Path) -> None:
    place = "sys/fs/cgroup/memory/docker/abc"
    control = "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"
    files = {f"{place}/memory.oom_control": control}
    files[f"{place}/memory.limit_in_bytes"] = "9223372036854771712\n"
    assert oom_kills.read(system(tmp_path, V1, files)) == OomKills(1, None, None)


def test_what_does_not_tell_is_unknown(tmp_path: Path) -> None:
    assert oom_kills.read(tmp_path) == OomKills()
    assert OomKills().since(OomKills()) == "unknown"
    assert OomKills(machine=3).since(OomKills(machine=2)) == "machine"
    assert OomKills(machine=2).since(OomKills(machine=2)) == "none"
    assert OomKills(1, 9).since(OomKills(1, 8)) == "none"  # it was another group's process
    assert OomKills(2, 9).since(OomKills(1, 8)) == "group"


def test_an_engine_that_is_killed_by_somebody_did_not_run_out_of_memory(tmp_path: Path) -> None:
    if oom_kills.read().since(oom_kills.read()) == "unknown":
        pytest.skip("this system has no counters")
    command = [sys.executable, "-c", "import time; print('x', flush=True); time.sleep(60)"]
    engine = EngineProcess(start(command, folder=tmp_path, environment=dict(os.environ)))
    wait_until(lambda: engine.garbage, "the engine runs")
    os.kill(engine.pid, signal.SIGKILL)
    assert engine.returncode == -signal.SIGKILL
    assert engine.memory[0] == "none"
    assert engine.peak_bytes > 0
    engine.close()
