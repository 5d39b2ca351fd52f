"""As many threads as processors: the kernel's files as it writes them, and torch's own count."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from slimgpt.machine import threads

V2 = "0::/kubepods/pod1/worker\n"
V1 = "5:devices:/\n3:cpu,cpuacct:/docker/abc\n0::/\n"
PROBE = """
from slimgpt.machine import launch
[*launch.imports()]
import os, torch
print(torch.get_num_threads(), os.environ["OMP_WAIT_POLICY"])
"""


def system(root: Path, group: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": group, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize("place", ["kubepods/pod1/worker", "kubepods/pod1", ""])
@pytest.mark.parametrize(("limit", "most"), [("150000 100000", 2), ("1000 100000", 1)])
def test_a_quota_of_version_2_counts_at_any_level(
    place: str, limit: str, most: int, tmp_path: Path
) -> None:
    files = {f"sys/fs/cgroup/{place}/cpu.max": f"{limit}\n"}
    found = threads.available(system(tmp_path, V2, files))
    assert found == min(most, len(os.sched_getaffinity(0)))


def test_a_quota_of_version_1(tmp_path: Path) -> None:
    place = "sys/fs/cgroup/cpu/docker/abc"
    files = {f"{place}/cpu.cfs_quota_us": "50000\n", f"{place}/cpu.cfs_period_us": "100000\n"}
    assert threads.available(system(tmp_path, V1, files)) == 1


@pytest.mark.parametrize("limit", ["max 100000", "-1 100000", "", "5 0"])
def test_without_a_quota_it_is_the_affinity(limit: str, tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/cpu.max": limit}
    affinity = len(os.sched_getaffinity(0))
    assert threads.available(system(tmp_path, V2, files)) == affinity
    assert threads.available(tmp_path) == affinity


def test_torch_computes_with_so_many() -> None:
    environment = {name: text for name, text in os.environ.items() if "OMP" not in name}
    one = min(os.sched_getaffinity(0))
    pinned = f"import os; os.sched_setaffinity(0, [{one}]){PROBE}"
    done = subprocess.run(
        [sys.executable, "-c", pinned], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1 PASSIVE\n"


def test_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    threads.prepare()
    assert (os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"]) == ("3", "ACTIVE")
