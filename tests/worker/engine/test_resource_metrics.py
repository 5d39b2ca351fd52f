"""Metrics of the engine's memory and of its GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.worker.gpu_driver import driver
from worker.engine.resource_metrics import EngineMemory, GpuMetrics

__all__ = ["driver"]
SCRAPE = """
import json, sys
from worker.engine.resource_metrics import GpuMetrics
for device, visible in json.loads(sys.argv[1]):
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    found = GpuMetrics(device, environment).collect()
    print(json.dumps({s.name: [s.labels["gpu"], s.value] for m in found for s in m.samples}))
"""
SECOND = {
    "slimgpt_gpu_utilization_ratio": ["1", 0.75],
    "slimgpt_gpu_memory_used_bytes": ["1", 2 << 30],
    "slimgpt_gpu_memory_bytes": ["1", 80 << 30],
}


Case = tuple[str, str | None]
"""A device, and the GPUs that are visible."""


def scrape(driver: Path, *cases: Case, **environment: str) -> dict[Case, object]:
    """The GPU metrics of each case, in a process that has the stand-in."""
    done = subprocess.run(
        [sys.executable, "-c", SCRAPE, json.dumps(cases)],
        env={**os.environ, "LD_LIBRARY_PATH": str(driver), **environment},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return dict(zip(cases, map(json.loads, done.stdout.splitlines()), strict=True))


def test_the_gpu_of_the_engine_is_measured_if_there_is_one(driver: Path) -> None:
    second = [("cuda:1", None), ("cuda", "1"), ("auto", "1,0"), ("cuda:0", "GPU-5f3c")]
    none = [("cpu", None), ("cuda:2", None), ("cuda:1", "0"), ("cuda", "")]
    wanted = dict.fromkeys(second, SECOND) | {case: {} for case in none}
    assert scrape(driver, *wanted) == wanted


def test_what_the_driver_does_not_tell_is_omitted(driver: Path) -> None:
    """As of a part of a GPU (MIG), whose use is not known."""
    found = scrape(driver, ("cuda:1", None), UNSUPPORTED="1")
    assert found == {("cuda:1", None): {k: v for k, v in SECOND.items() if "utilization" not in k}}


def test_without_a_driver_there_are_no_metrics() -> None:
    if Path("/proc/driver/nvidia").exists():
        pytest.skip("this machine has NVIDIA's driver")
    assert list(GpuMetrics("cuda", {}).collect()) == []


def test_the_memory_of_the_engine_and_its_processes_is_measured() -> None:
    def measured() -> float:
        (metric,) = EngineMemory().collect()
        return float(metric.samples[0].value)

    size = 64 << 20
    inner = f"x = b'1' * {size}; print(flush=True); input()"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    before = measured()
    with subprocess.Popen(
        [sys.executable, "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as engine:
        assert engine.stdout is not None
        engine.stdout.readline()
        (child,) = psutil.Process(engine.pid).children()
        assert measured() - before > child.memory_info().rss > size
        engine.communicate(b"\n")
    assert measured() - before < size
