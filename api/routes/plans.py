"""`POST /plans`: the plan of a job, without a GPU, a queue or a row.

The engine plans in a subprocess, because it reads untrusted file headers: without secrets, without
the hub, with limits on memory, time and concurrency.
"""

from __future__ import annotations

import os
import subprocess

import structlog
from fastapi import APIRouter, Depends
from pydantic import TypeAdapter, ValidationError

from api.auth import Caller
from api.checks import sandbox
from api.checks.sources import missing_sources, missing_uploads
from api.dependencies import ServicesDep
from api.http.concurrency_limit import ConcurrencyLimit
from api.http.problems import Problem
from api.http.validation import summary
from api.inventory.time_estimate import TimeEstimate, estimate
from api.openapi import problems
from api.routes.jobs import declared_json
from api.schemas.examples import PLAN, answers
from api.schemas.jobs import JobRequest
from jobs.environment import engine_environment
from jobs.logs.redaction import for_clients
from jobs.settings import Settings
from jobs.store.lists.durations import last_durations
from slimgpt.errors import HubUnreachableError
from slimgpt.events import Failed
from slimgpt.planning.document import PlanPreview
from slimgpt.spec.prune import PruneSpec

PLAN_SECONDS = 30.0
PROCESSOR_SECONDS = 30
PLAN_BYTES = 384 << 20
"""A plan takes less than 96 MiB; the headers of a real model are megabytes. The API and all
concurrent plans together stay below the 1 GiB of its container."""
AT_ONCE = 2
ANSWER: TypeAdapter[PlanPreview | Failed] = TypeAdapter(PlanPreview | Failed)
router = APIRouter(tags=["plans"])
log = structlog.get_logger(__name__)
_limit = ConcurrencyLimit("plans", AT_ONCE, AT_ONCE - 1, "too-many-plans")


class PlanView(PlanPreview):
    """The plan of a job that is not run, with an estimate of its time."""

    time: TimeEstimate


@router.post(
    "/plans",
    dependencies=[Depends(declared_json)],
    responses={**answers(PLAN), **problems(400, 413, 415, 422, 429, 503)},
)
def make_plan(body: JobRequest, services: ServicesDep, caller: Caller) -> PlanView:
    """Plan a job, given as for `POST /jobs`, without running it.

    The model must be on the API's machine: below its models root, or in its hub cache.
    """
    spec, settings = body.spec(), services.settings
    faults = missing_sources(spec, settings.models_root, settings.texts_root)
    faults = [fault for fault in faults if fault.pointer == "/model"]
    if faults := faults + missing_uploads(spec, services.calibration_sets, caller.scope):
        raise Problem("invalid-request", summary(faults), errors=faults)
    with _limit.held(caller.owner, alone=services.keys is None):
        answer = _ask_engine(spec, settings)
    if isinstance(answer, Failed):
        raise _refusal(answer, spec)
    history = last_durations(services.engine)
    return PlanView(
        **{**answer.model_dump(), "warnings": for_clients(answer.warnings)},
        time=estimate(spec, answer.parameters_before, history),
    )


def _ask_engine(spec: PruneSpec, settings: Settings) -> PlanPreview | Failed:
    root = str(settings.models_root.absolute())
    command = [*settings.engine_command, "plan", "-", "--models-root", root]
    try:
        done = subprocess.run(
            sandbox.command(command, memory=PLAN_BYTES, seconds=PROCESSOR_SECONDS),
            input=spec.model_dump_json().encode(),
            capture_output=True,
            env=_environment(),
            timeout=PLAN_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        reason = f"the plan took more than {PLAN_SECONDS:g} seconds"
        raise Problem("unavailable", reason) from error
    try:
        answer = ANSWER.validate_json(done.stdout)
    except ValidationError as error:
        tail = done.stderr[-2000:].decode(errors="replace")
        log.error("the engine made no plan", returncode=done.returncode, stderr=tail)
        # A library without memory may abort instead of raising an exception.
        if done.returncode < 0 or MemoryError.__name__ in tail:
            raise _too_large(spec) from error
        raise RuntimeError(f"the engine ended with {done.returncode} and made no plan") from error
    if isinstance(answer, Failed) and answer.message.startswith(MemoryError.__name__):
        raise _too_large(spec)
    return answer


def _too_large(spec: PruneSpec) -> Problem:
    detail = (
        f"planning {spec.model!r} takes more than {PLAN_BYTES >> 20} MiB of memory or "
        f"{PROCESSOR_SECONDS} s of processor time; "
        "check its config.json and the headers of its safetensors files"
    )
    return Problem("plan-refused", detail, extensions={"code": "plan-too-large"})


def _environment() -> dict[str, str]:
    """The engine's environment, offline and without tokens: a web request must not download."""
    kept = {
        name: value for name, value in engine_environment(os.environ).items() if "TOKEN" not in name
    }
    return kept | {"HF_HUB_OFFLINE": "1"}


def _refusal(failed: Failed, spec: PruneSpec) -> Problem:
    if failed.code == "internal-error":
        raise RuntimeError(f"the engine failed to plan: {failed.message}")
    if failed.code == HubUnreachableError.code:
        detail = f"model {spec.model!r} is not in the hub cache of the API's machine"
        return Problem("model-not-cached", detail)
    detail = for_clients("; ".join(filter(None, (failed.message, failed.hint))))
    return Problem("plan-refused", detail, extensions={"code": failed.code})
