"""Metrics of all jobs, read from the database and Redis at scrape time.

Every process that serves them says the same, and nothing is lost at a restart. A part that
doesn't answer is said to be down, and what it would have told is left out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis import Redis
from sqlalchemy import Engine

from jobs.messages.queue import QUEUE
from jobs.metrics.cached_probe import WAIT_SECONDS, CachedProbe
from jobs.store.lists.statistics import JobStatistics, take


class JobMetrics(Collector):
    """Jobs by status, how long the oldest waits, leases, messages in the queue.

    Args:
        engine: the store's.
        redis: the broker.
    """

    def __init__(self, engine: Engine, redis: Redis) -> None:
        self._statistics = CachedProbe("database", lambda: take(engine))
        self._messages = CachedProbe("redis", lambda: redis.llen(QUEUE))

    def collect(self) -> Iterator[Metric]:
        """Ask both at once, and say what there is within a second."""
        over = time.monotonic() + WAIT_SECONDS
        self._messages.start()
        statistics = self._statistics.take()
        messages = self._messages.take(over - time.monotonic())
        up = GaugeMetricFamily(
            "slimgpt_up", "Whether a part of the service answers.", labels=["part"]
        )
        up.add_metric(["database"], float(statistics is not None))
        up.add_metric(["redis"], float(messages is not None))
        yield up
        if statistics is not None:
            yield from _job_metrics(statistics)
        if messages is not None:
            yield GaugeMetricFamily(
                "slimgpt_queue_messages", "Messages that wait in the broker.", value=messages
            )


def _job_metrics(statistics: JobStatistics) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("slimgpt_jobs", "Jobs in the database.", labels=["status"])
    for status, number in sorted(statistics.by_status.items()):
        jobs.add_metric([status], number)
    yield jobs
    yield GaugeMetricFamily(
        "slimgpt_queue_oldest_seconds",
        "How long the job that is queued longest has waited; 0 if none is.",
        value=statistics.oldest_queued_seconds,
    )
    yield GaugeMetricFamily(
        "slimgpt_expired_leases",
        "Jobs of silent workers that no reaper has taken back yet.",
        value=statistics.expired_leases,
    )
    deliveries = GaugeMetricFamily(
        "slimgpt_webhook_log", "Deliveries in the log of webhooks.", labels=["status"]
    )
    for status, number in sorted(statistics.deliveries.items()):
        deliveries.add_metric([status], number)
    yield deliveries
