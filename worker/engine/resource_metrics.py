"""Memory of the engine and use of its GPUs, measured when Prometheus scrapes the worker.

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
    """Use and memory of the GPUs that the engine computes on.

    Args:
        device: `SLIMGPT_DEVICE`.
        devices: `SLIMGPT_MAX_DEVICES`.
        environment: of the engine; `CUDA_VISIBLE_DEVICES` numbers the GPUs.
    """

    def __init__(self, device: str, devices: int, environment: Mapping[str, str]) -> None:
        kind, _, number = device.partition(":")
        names = [f"{kind}:{one}" for one in range(devices)] if not number else [device]
        found = [gpu.find(name, environment) for name in names]
        self._gpus = [handle for handle in found if handle is not None]

    def collect(self) -> Iterator[Metric]:
        """Measure; what the driver does not tell is omitted."""
        used = _gauge("utilization_ratio", "Share of time in which kernels ran.")
        held = _gauge("memory_used_bytes", "GPU memory in use.")
        there = _gauge("memory_bytes", "GPU memory.")
        for handle in self._gpus:
            label = [str(pynvml.nvmlDeviceGetIndex(handle))]
            with suppress(pynvml.NVMLError):
                used.add_metric(label, pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100)
            with suppress(pynvml.NVMLError):
                memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
                held.add_metric(label, memory.used)
                there.add_metric(label, memory.total)
        yield from (gauge for gauge in (used, held, there) if gauge.samples)


def _gauge(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"slimgpt_gpu_{name}", text, labels=["gpu"])
