"""Memory of the engine and use of its GPU, measured when Prometheus scrapes the worker.

NVML reads the GPU without a CUDA context, so the worker occupies no GPU memory. Without NVIDIA's
driver, or with `SLIMGPT_DEVICE=cpu`, there are no GPU metrics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import psutil
import pynvml
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

VISIBLE = "CUDA_VISIBLE_DEVICES"


class EngineMemory(Collector):
    """Resident memory of this process's children: the engine, and the processes it started."""

    def collect(self) -> Iterator[Metric]:
        """Measure; 0 without an engine."""
        total = 0
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):  # it ended meanwhile
                total += process.memory_info().rss
        yield GaugeMetricFamily(
            "slimgpt_engine_memory_bytes",
            "Resident memory of the engine and its processes, also of one that waits for a job.",
            value=total,
        )


class GpuMetrics(Collector):
    """Use and memory of the GPU that the engine computes on.

    Args:
        device: `SLIMGPT_DEVICE`.
        environment: of the engine; `CUDA_VISIBLE_DEVICES` numbers the GPUs.
    """

    def __init__(self, device: str, environment: Mapping[str, str]) -> None:
        self._gpu: Any = None
        kind, _, number = device.partition(":")
        if kind not in ("auto", "cuda"):
            return
        with suppress(pynvml.NVMLError, IndexError):  # no driver, or no such GPU
            pynvml.nvmlInit()
            self._gpu = _handle(int(number or 0), environment.get(VISIBLE))

    def collect(self) -> Iterator[Metric]:
        """Measure; what the driver does not tell is omitted."""
        if self._gpu is None:
            return
        label = str(pynvml.nvmlDeviceGetIndex(self._gpu))
        with suppress(pynvml.NVMLError):
            used = pynvml.nvmlDeviceGetUtilizationRates(self._gpu).gpu / 100
            yield _gauge("utilization_ratio", "Share of time in which kernels ran.", label, used)
        with suppress(pynvml.NVMLError):
            memory = pynvml.nvmlDeviceGetMemoryInfo(self._gpu)
            yield _gauge("memory_used_bytes", "GPU memory in use.", label, memory.used)
            yield _gauge("memory_bytes", "GPU memory.", label, memory.total)


def _handle(number: int, visible: str | None) -> Any:
    """NVML's handle of CUDA's device.

    Raises:
        IndexError: fewer devices are visible.
    """
    name = str(number)
    if visible is not None:
        name = [one.strip() for one in visible.split(",") if one.strip()][number]
    if name.isdecimal():
        return pynvml.nvmlDeviceGetHandleByIndex(int(name))
    return pynvml.nvmlDeviceGetHandleByUUID(name)


def _gauge(name: str, text: str, label: str, value: float) -> Metric:
    gauge = GaugeMetricFamily(f"slimgpt_gpu_{name}", text, labels=["gpu"])
    gauge.add_metric([label], value)
    return gauge
