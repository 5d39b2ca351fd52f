"""Exposition of metrics in Prometheus's format, with access control.

The API serves its own metrics (`api.routes.metrics`); other processes call `serve`, on a separate
port.
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import structlog
from prometheus_client import CollectorRegistry, Info, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import ThreadingWSGIServer, choose_encoder

from jobs.settings import Settings

REQUEST_SECONDS = 10
log = structlog.get_logger(__name__)
disable_created_metrics()  # type: ignore[no-untyped-call]  # an extra series per counter


def new_registry() -> CollectorRegistry:
    """A registry with the release, and the process metrics: memory, CPU, open files."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    build = Info("slimgpt_build", "The release that this process runs.", registry=registry)
    build.info({"version": version("slimgpt-service")})
    return registry


def render(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """All metrics in the format that the header `Accept` selects, and its media type."""
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


def admits(settings: Settings, text: str) -> bool:
    """Whether a bearer token gives access to the metrics; never, if none is set."""
    token = settings.metrics_token.get_secret_value()
    return bool(token) and hmac.compare_digest(token.encode(), text.encode(errors="replace"))


class Exporter:
    """Serves a registry over HTTP in a thread, until the process ends.

    Args:
        settings: port, address and token.
        registry: the metrics.

    Raises:
        OSError: the port cannot be bound.
    """

    def __init__(self, settings: Settings, registry: CollectorRegistry) -> None:
        self._settings = settings
        self._registry = registry
        self._server = make_server(
            settings.metrics_host,
            settings.metrics_port or 0,
            self._answer,
            ThreadingWSGIServer,
            _QuietHandler,
        )
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        scheme, _, text = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        known = scheme.lower() == "bearer" and admits(self._settings, text.strip(" "))
        if not known and self._settings.metrics_token.get_secret_value():
            start_response("401 Unauthorized", [("WWW-Authenticate", "Bearer")])
            return [b"send the token of SLIMGPT_METRICS_TOKEN\n"]
        if environ.get("PATH_INFO") != "/metrics" or environ["REQUEST_METHOD"] != "GET":
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"GET /metrics\n"]
        body, media_type = render(self._registry, environ.get("HTTP_ACCEPT", ""))
        start_response("200 OK", [("Content-Type", media_type)])
        return [body]


class _QuietHandler(WSGIRequestHandler):
    timeout = REQUEST_SECONDS  # an idle client must not hold a thread for ever

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its base's name
        """Scrapes are no news."""


def serve(settings: Settings, registry: CollectorRegistry) -> Exporter | None:
    """Serve the registry at the address in the settings; without a port, do nothing.

    A port in use is only logged: jobs matter more than metrics.
    """
    if settings.metrics_port is None:
        return None
    where = f"{settings.metrics_host}:{settings.metrics_port}"
    try:
        exporter = Exporter(settings, registry)
    except OSError as error:
        log.error("metrics are not served", address=where, reason=str(error))
        return None
    log.info("metrics are served", address=where)
    return exporter
