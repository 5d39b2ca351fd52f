"""Free disk space of the service's folders, as metrics."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class DiskMetrics(Collector):
    """Free and total bytes of the disks under some folders.

    Args:
        places: folders by the value of the label `place`.
    """

    def __init__(self, places: Callable[[], Mapping[str, Path]]) -> None:
        self._places = places

    def collect(self) -> Iterator[Metric]:
        """Measure; folders that cannot be read are left out."""
        free = GaugeMetricFamily(
            "slimgpt_disk_free_bytes", "Free bytes for the service.", labels=["place"]
        )
        size = GaugeMetricFamily(
            "slimgpt_disk_size_bytes", "Bytes that the disk holds.", labels=["place"]
        )
        for place, folder in self._places().items():
            try:
                usage = shutil.disk_usage(existing(folder))
            except OSError:
                continue
            free.add_metric([place], usage.free)
            size.add_metric([place], usage.total)
        yield free
        yield size


def existing(path: Path) -> Path:
    """The path or the nearest folder above it that exists."""
    return next(place for place in (path, *path.parents) if place.exists())
