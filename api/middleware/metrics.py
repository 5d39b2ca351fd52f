"""HTTP metrics: request counts, status codes, durations.

Counted per process. All labels have a bounded set of values; a route is its template, not a path.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class HttpMetrics:
    """HTTP metrics of one application.

    Args:
        registry: exports them.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "slimgpt_http_requests",
            "Requests that were answered.",
            ["method", "route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "slimgpt_http_request_seconds",
            "Time from a request to the end of its answer, streams of events aside.",
            ["method", "route"],
            buckets=SECONDS,
            registry=registry,
        )
        self.running = Gauge(
            "slimgpt_http_requests_in_progress",
            "Requests that are being answered, open streams of events included.",
            registry=registry,
        )

    def count(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """Count a finished request; `seconds` is None for a stream."""
        known = method if method in METHODS else "other"
        self._requests.labels(known, route, str(status)).inc()
        if seconds is not None:
            self._seconds.labels(known, route).observe(seconds)
