"""Memory of the engine and use of its GPU, measured when Prometheus scrapes the worker.

Without NVIDIA's driver, or with `SLIMGPT_DEVICE=cpu`, there are no GPU metrics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

import psutil
import pynvml
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from worker.engine import gpu
from worker.engine.memory import resident_bytes


class EngineMemory(Collector):
    """Resident memory of this process's children: the engine, and the processes it started."""

    def collect(self) -> Iterator[Metric]:
        """Measure; 0 without an engine."""
        total = resident_bytes(psutil.Process().children(recursive=True))
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
        self._gpu = gpu.find(device, environment)

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


def _gauge(name: str, text: str, label: str, value: float) -> Metric:
    gauge = GaugeMetricFamily(f"slimgpt_gpu_{name}", text, labels=["gpu"])
    gauge.add_metric([label], value)
    return gauge
