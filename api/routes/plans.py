"""`POST /plans`: the plan of a job, without a GPU, a queue or a row."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from api.auth import Caller
from api.checks import plan_check
from api.checks.sources import missing_sources, missing_uploads, models_of
from api.dependencies import ServicesDep
from api.http.problems import Problem
from api.http.validation import summary
from api.inventory.time_estimate import TimeEstimate, estimate
from api.openapi import problems
from api.routes.jobs import declared_json
from api.schemas.examples import PLAN, answers
from api.schemas.jobs import JobRequest
from jobs.logs.redaction import for_clients
from jobs.store.lists.stage_times import earlier_jobs
from slimgpt.events import Failed
from slimgpt.planning.document import PlanPreview

router = APIRouter(tags=["plans"])


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

    The model must be on the API's machine: below its models root, or in its hub cache; so must a
    local teacher.
    """
    spec, settings = body.spec(), services.settings
    faults = missing_sources(spec, settings.models_root, settings.texts_root)
    faults = [fault for fault in faults if fault.pointer in models_of(spec)]
    if faults := faults + missing_uploads(spec, services.calibration_sets, caller.scope):
        raise Problem("invalid-request", summary(faults), errors=faults)
    with plan_check.limit.held(caller.owner, alone=services.keys is None):
        answer = plan_check.ask_engine(spec, settings)
    if isinstance(answer, Failed):
        raise plan_check.refusal(answer, spec)
    history = earlier_jobs(services.engine)
    return PlanView(
        **{**answer.model_dump(), "warnings": for_clients(answer.warnings)},
        time=estimate(spec, answer.parameters_before, history),
    )
