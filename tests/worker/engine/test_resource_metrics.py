"""Metrics of the engine's memory and of its GPU."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from worker.engine.resource_metrics import EngineMemory, GpuMetrics

DRIVER = """
typedef struct { unsigned gpu, memory; } use_t;
typedef struct { unsigned long long total, free, used; } memory_t;
static char gpus[2];
int nvmlInitWithFlags(unsigned flags) { return 0; }
const char *nvmlErrorString(int code) { return "error"; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **gpu) {
    if (index > 1) return 2;
    *gpu = gpus + index;
    return 0;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, void **gpu) { *gpu = gpus + 1; return 0; }
int nvmlDeviceGetIndex(void *gpu, unsigned *index) { *index = (char *)gpu - gpus; return 0; }
int nvmlDeviceGetUtilizationRates(void *gpu, use_t *use) {
    use->gpu = gpu == gpus ? 10 : 75;
    return SUPPORTED ? 0 : 3;
}
int nvmlDeviceGetMemoryInfo(void *gpu, memory_t *memory) {
    memory->total = 80, memory->used = gpu == gpus ? 20 : 30, memory->free = 50;
    return 0;
}
"""
"""A stand-in for NVIDIA's driver library, with two GPUs, below the real binding."""
SCRAPE = """
import json, os, sys
from worker.engine.resource_metrics import GpuMetrics
found = GpuMetrics(sys.argv[1], os.environ).collect()
print(json.dumps({s.name: [s.labels["gpu"], s.value] for m in found for s in m.samples}))
"""
SECOND = {
    "slimgpt_gpu_utilization_ratio": ["1", 0.75],
    "slimgpt_gpu_memory_used_bytes": ["1", 30],
    "slimgpt_gpu_memory_bytes": ["1", 80],
}


def scrape(folder: Path, device: str, visible: str | None, supported: bool = True) -> object:
    """The GPU metrics of a process that has the stand-in."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("no C compiler to build the stand-in of NVIDIA's driver")
    (folder / "driver.c").write_text(DRIVER)
    library = str(folder / "libnvidia-ml.so.1")
    words = [f"-DSUPPORTED={int(supported)}", "-shared", "-fPIC", "-w", "-o", library]
    subprocess.run([compiler, *words, str(folder / "driver.c")], check=True)
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    environment["LD_LIBRARY_PATH"] = str(folder)
    if visible is not None:
        environment["CUDA_VISIBLE_DEVICES"] = visible
    done = subprocess.run(
        [sys.executable, "-c", SCRAPE, device],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("device", "visible"),
    [("cuda:1", None), ("cuda", "1"), ("auto", "1,0"), ("cuda:0", "GPU-5f3c")],
)
def test_the_gpu_of_the_engine_is_measured(
    device: str, visible: str | None, tmp_path: Path
) -> None:
    assert scrape(tmp_path, device, visible) == SECOND


@pytest.mark.parametrize(
    ("device", "visible"), [("cpu", None), ("cuda:2", None), ("cuda:1", "0"), ("cuda", "")]
)
def test_without_a_gpu_there_are_no_metrics(
    device: str, visible: str | None, tmp_path: Path
) -> None:
    assert scrape(tmp_path, device, visible) == {}


def test_what_the_driver_does_not_tell_is_omitted(tmp_path: Path) -> None:
    """As of a part of a GPU (MIG), whose use is not known."""
    found = scrape(tmp_path, "cuda:1", None, supported=False)
    assert found == {k: v for k, v in SECOND.items() if "utilization" not in k}


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
