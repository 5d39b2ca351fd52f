"""The web application: `create_app(settings)`, or `uvicorn --factory api.app:from_environment`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import artifacts, auth, events, finished, health, jobs, openapi, plans, problems
from api.body_size import BodySizeLimit
from api.header_size import HeaderSizeLimit
from api.services import Services
from jobs import logs
from jobs.settings import Settings, load

MAX_BODY_BYTES = 1 << 20
DESCRIPTION = """Pruning as a service for large language models, after SlimGPT.

Post a job, poll its status, download a smaller checkpoint with a report. Every error is a
problem document (RFC 9457)."""


class NoSniff:
    """ASGI middleware: browsers take every answer for what it is declared as."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Content-Type-Options"] = "nosniff"
            await send(message)

        await self.app(scope, receive, marked)


def create_app(settings: Settings) -> FastAPI:
    """The application over the store, queue and files that the settings name.

    Raises:
        jobs.settings.BadSettings: it would serve strangers without keys, or can't check keys.
    """
    auth.check(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.services = Services.connect(settings)
        yield
        app.state.services.close()

    app: FastAPI = FastAPIOffline(  # its /docs needs no other host
        redoc_url=None,
        title="SlimGPT Service",
        version=version("slimgpt-service"),
        description=DESCRIPTION,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    problems.install(app)
    openapi.install(app, with_keys=settings.auth == "keys")
    app.add_middleware(BodySizeLimit, max_bytes=MAX_BODY_BYTES)
    app.add_middleware(auth.Gate)
    if settings.loopback_only:
        app.add_middleware(auth.LoopbackOnly)
    app.add_middleware(HeaderSizeLimit)
    app.add_middleware(NoSniff)  # the outermost
    for module in (jobs, finished, events, artifacts, plans, health):
        app.include_router(module.router)
    return app


def from_environment() -> FastAPI:
    """The application as the `SLIMGPT_*` variables describe it.

    Raises:
        jobs.settings.BadSettings: a variable cannot be read, or as `create_app`; the message
            names it.
    """
    settings = load()
    logs.configure(settings.log_level, as_json=settings.log_json)
    return create_app(settings)
