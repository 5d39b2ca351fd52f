"""FastAPI application: `create_app(settings)`, or `uvicorn --factory api.app:from_environment`."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.datastructures import MutableHeaders
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import auth, dashboard, manual, openapi
from api.http import problems
from api.http.in_memory_files import InMemoryFiles
from api.inventory.models import ModelDescriptions
from api.middleware.body_size import BodySizeLimit
from api.middleware.early_response import EarlyResponse
from api.middleware.header_size import HeaderSizeLimit
from api.middleware.json_size import JsonSizeLimit
from api.middleware.message_framing import MessageFraming
from api.middleware.request_log import RequestLog
from api.routes import (
    artifacts,
    calibration_sets,
    deliveries,
    events,
    finished_jobs,
    health,
    jobs,
    metrics,
    overview,
    plans,
    reports,
    webhooks,
)
from api.routes.operations import engine_logs, keys, sources, usage, workers
from api.schemas.paths import VERSION
from api.services import Services
from jobs.files import storage_urls
from jobs.logs import structured
from jobs.settings import Settings, load

MAX_BODY_BYTES = 1 << 20
DESCRIPTION = """Pruning as a service for large language models, after SlimGPT.

Post a job, poll its status, download a smaller checkpoint with a report. Every error is a
problem document (RFC 9457)."""

ROUTED = (
    jobs,
    finished_jobs,
    events,
    engine_logs,
    artifacts,
    usage,
    reports,
    calibration_sets,
    sources,
    plans,
    webhooks,
    deliveries,
    keys,
    workers,
    overview,
)
"""Modules with routes, in the order of the documentation, below `VERSION`."""
OF_OPERATORS = (metrics, health)
"""Modules whose paths have no version: probes and scrapers are configured once."""


class SecurityHeaders:
    """ASGI middleware: headers against content sniffing and framing (clickjacking)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers["X-Frame-Options"] = "DENY"
            await send(message)

        await self.app(scope, receive, marked)


def create_app(settings: Settings) -> FastAPI:
    """The application over the store, queue and files that the settings name.

    Raises:
        jobs.settings.BadSettings: keys are off without `loopback_only`, keys cannot be checked, or
            the artifact store cannot be used.
    """
    auth.check(settings)
    storage_urls.require(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.services = Services.connect(settings)
        app.state.models = ModelDescriptions(settings)
        metrics.install(app.state.services)
        yield
        await app.state.services.close()

    app: FastAPI = FastAPIOffline(  # /docs loads nothing from other hosts
        redoc_url=None,
        title="SlimGPT Service",
        version=version("slimgpt-service"),
        description=DESCRIPTION,
        redirect_slashes=False,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
    )
    for mounted in app.routes:  # what /docs loads
        if isinstance(mounted, Mount) and isinstance(mounted.app, StaticFiles):
            mounted.app = InMemoryFiles(Path(str(mounted.app.directory)))
    problems.install(app)
    openapi.install(app, with_keys=settings.auth == "keys", loopback_only=settings.loopback_only)
    sets = calibration_sets.router.prefix
    uploads = {("POST", place + sets): settings.max_upload_bytes for place in ("", VERSION)}
    app.add_middleware(JsonSizeLimit, apart=uploads)
    app.add_middleware(BodySizeLimit, max_bytes=MAX_BODY_BYTES, larger=uploads)
    app.add_middleware(auth.ApiKeyAuth)
    if settings.loopback_only:
        app.add_middleware(auth.LoopbackOnly)
    app.add_middleware(HeaderSizeLimit)
    app.add_middleware(MessageFraming)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(EarlyResponse)
    app.add_middleware(RequestLog)  # the outermost
    _route(app)
    dashboard.install(app)
    manual.install(app)
    return app


def _route(app: FastAPI) -> None:
    """Add the routes, and again those with a version as they were before there was one."""
    for module in ROUTED:
        app.include_router(module.router, prefix=VERSION)
    for module in OF_OPERATORS:
        app.include_router(module.router)
    for module in ROUTED:
        app.include_router(module.router, include_in_schema=False)


def from_environment() -> FastAPI:
    """The application configured by the `SLIMGPT_*` variables.

    Raises:
        jobs.settings.BadSettings: a variable is invalid, or as `create_app`; the message names it.
    """
    settings = load()
    structured.configure_for(settings)
    app = create_app(settings)
    # Modules, schemas and routes stay: to look through all of them for garbage would stop every
    # request for a tenth of a second, now and then.
    gc.collect()
    gc.freeze()
    return app
