"""`/healthz` (liveness), `/readyz` (readiness), and `/problems/{type}`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated, Literal

import structlog
from fastapi import APIRouter, Path
from pydantic import BaseModel, Field
from sqlalchemy import text

from api.dependencies import ServicesDep
from api.http.problems import KINDS, Problem
from api.http.streaming import in_storage_thread
from api.openapi import problems
from api.services import Services

router = APIRouter(tags=["service"])
log = structlog.get_logger(__name__)


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = Field("ok", examples=["ok"])


class Readiness(BaseModel):
    """The service can do its work; `checks` names each part."""

    status: Literal["ready"] = "ready"
    checks: dict[str, Literal["ok"]] = Field(
        examples=[{"database": "ok", "redis": "ok", "artifacts": "ok"}]
    )


class ProblemKind(BaseModel):
    """What a problem's type means."""

    type: str = Field(examples=["/problems/job-not-found"])
    status: int = Field(examples=[404])
    title: str = Field(examples=["There is no such job"])
    remedy: str = Field(examples=["List the jobs with GET /jobs."])


@router.get("/healthz", responses=problems())
async def get_health() -> Health:
    """The process is alive. Says nothing about what it depends on."""
    return Health()


@router.get("/readyz", responses=problems(503))
async def get_readiness(services: ServicesDep) -> Readiness:
    """Database, Redis and artifacts answer."""
    return await in_storage_thread(_readiness, services)


def _readiness(services: Services) -> Readiness:
    checks = {name: _check(name, check, services) for name, check in CHECKS.items()}
    missing = [name for name, state in checks.items() if state != "ok"]
    if missing:
        detail = f"not ready: {', '.join(missing)} cannot be used"
        raise Problem("unavailable", detail, extensions={"checks": checks})
    return Readiness(checks=dict.fromkeys(checks, "ok"))


def _check_database(services: Services) -> None:
    with services.engine.connect() as connection:
        connection.execute(text("SELECT count(*) FROM jobs WHERE id = ''"))


def _check_redis(services: Services) -> None:
    services.progress.redis.ping()


def _check_artifacts(services: Services) -> None:
    services.artifacts.probe()
    root = services.artifacts.root
    if services.artifacts.local and not os.access(root, os.W_OK):
        raise PermissionError("the folder of artifacts cannot be written")


CHECKS: dict[str, Callable[[Services], None]] = {
    "database": _check_database,
    "redis": _check_redis,
    "artifacts": _check_artifacts,
}


def _check(name: str, check: Callable[[Services], None], services: Services) -> str:
    try:
        check(services)
    except Exception as error:  # whatever breaks a part, the answer is that it is broken
        log.warning("not ready", part=name, error=type(error).__name__, reason=str(error))
        return "failed"
    return "ok"


@router.get("/problems/{kind}", responses=problems(404))
def get_problem(kind: Annotated[str, Path(examples=["job-not-found"])]) -> ProblemKind:
    """What a problem's type means and what to do about it."""
    if kind not in KINDS:
        raise Problem("not-found", f"there is no kind of problem {kind[:64]!r}")
    status, title, remedy = KINDS[kind]
    return ProblemKind(type=f"/problems/{kind}", status=status, title=title, remedy=remedy)
