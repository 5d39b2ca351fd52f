"""`/healthz` (liveness), `/readyz` (readiness), and `/problems/{type}`."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Annotated, Literal

import anyio
import structlog
from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from api.dependencies import ServicesDep
from api.http.problem_kinds import KINDS
from api.http.problems import Problem
from api.openapi import problems

READY_SECONDS = 0.8
LOOK_SECONDS = 0.01
router = APIRouter(tags=["service"])
log = structlog.get_logger(__name__)


class Health(BaseModel):
    """The process is alive."""

    status: Literal["ok"] = Field("ok", examples=["ok"])


class Readiness(BaseModel):
    """The service is ready; `checks` lists each part."""

    status: Literal["ready"] = "ready"
    checks: dict[str, Literal["ok"]] = Field(
        examples=[{"database": "ok", "redis": "ok", "artifacts": "ok"}]
    )


class ProblemKind(BaseModel):
    """The meaning of a problem's type."""

    type: str = Field(examples=["/problems/job-not-found"])
    status: int = Field(examples=[404])
    title: str = Field(examples=["There is no such job"])
    remedy: str = Field(examples=["List the jobs with GET /v1/jobs."])


@router.get("/healthz", responses=problems())
async def get_health() -> Health:
    """Liveness: the process answers. Does not check its dependencies."""
    return Health()


@router.get("/readyz", responses=problems(503))
async def get_readiness(services: ServicesDep) -> Readiness:
    """Readiness: the database, Redis and the artifact store answer within a second."""
    asked = {name: probe.start() for name, probe in services.probes.items()}
    with anyio.move_on_after(READY_SECONDS):
        while not all(answer.done() for answer in asked.values()):
            await anyio.sleep(LOOK_SECONDS)
    checks = {name: _state(name, answer) for name, answer in asked.items()}
    missing = [name for name, state in checks.items() if state != "ok"]
    if missing:
        detail = f"not ready: {', '.join(missing)} cannot be used"
        raise Problem("unavailable", detail, extensions={"checks": checks})
    return Readiness(checks=dict.fromkeys(checks, "ok"))


def _state(part: str, answer: Future[None]) -> str:
    error: BaseException | None = TimeoutError("no answer in time")
    if answer.done():
        error = answer.exception()
    if error is None:
        return "ok"
    log.warning("not ready", part=part, error=type(error).__name__, reason=str(error))
    return "failed"


@router.get("/problems/{kind}", responses=problems(404))
async def get_problem(kind: Annotated[str, Path(examples=["job-not-found"])]) -> ProblemKind:
    """The meaning of a problem's type, and what to do about it."""
    if kind not in KINDS:
        raise Problem("not-found", f"there is no kind of problem {kind[:64]!r}")
    status, title, remedy = KINDS[kind]
    return ProblemKind(type=f"/problems/{kind}", status=status, title=title, remedy=remedy)
