"""NVIDIA's driver library as far as the worker asks it, for tests on machines without a GPU."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = """
#include <stdlib.h>
#include <string.h>
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
int nvmlDeviceGetName(void *gpu, char *name, unsigned length) {
    strncpy(name, gpu == gpus ? "A" : "B", length);
    return 0;
}
int nvmlDeviceGetUtilizationRates(void *gpu, use_t *use) {
    use->gpu = gpu == gpus ? 10 : 75;
    return getenv("UNSUPPORTED") ? 3 : 0;
}
int nvmlDeviceGetMemoryInfo(void *gpu, memory_t *memory) {
    memory->total = (gpu == gpus ? 40ull : 80ull) << 30, memory->used = 2ull << 30;
    memory->free = memory->total - memory->used;
    return 0;
}
"""
"""A stand-in for NVIDIA's driver library, with two GPUs, below the real binding."""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the stand-in."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("no C compiler to build the stand-in of NVIDIA's driver")
    folder = tmp_path_factory.mktemp("driver")
    (folder / "driver.c").write_text(DRIVER)
    library = str(folder / "libnvidia-ml.so.1")
    words = ["-shared", "-fPIC", "-w", "-o", library]
    subprocess.run([compiler, *words, str(folder / "driver.c")], check=True)
    return folder
