"""The plan of a job by the engine, in a subprocess, and refusals of jobs that cannot be planned.

The subprocess reads untrusted file headers: it has no secrets, no hub, and limits on memory, time
and concurrency. A local model is planned from its headers; of a hub model the config in this
machine's cache is enough, and without one only the worker can tell.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
import time
from collections import OrderedDict
from typing import Any

import structlog
from pydantic import TypeAdapter, ValidationError

from api.checks import sandbox
from api.checks.folder_state import state_of
from api.checks.sources import LOCAL, inside, models_of
from api.http.concurrency_limit import ConcurrencyLimit
from api.http.problems import Problem
from api.http.validation import FieldError, summary
from jobs.environment import engine_environment
from jobs.logs.redaction import for_clients
from jobs.settings import Settings
from slimgpt.errors import HubUnreachableError, ModelNotFoundError
from slimgpt.events import Failed
from slimgpt.planning.document import PlanPreview
from slimgpt.spec.prune import PruneSpec

PLAN_SECONDS = 30.0
PROCESSOR_SECONDS = 30
PLAN_BYTES = 384 << 20
"""A plan takes less than 96 MiB; the headers of a real model are megabytes. The API and all
concurrent plans together stay below the 1 GiB of its container."""
AT_ONCE = 2
NEW_JOB_SECONDS = 10.0
"""Longest plan of a new job; if it takes longer, only the worker checks the job."""
PATIENCE_SECONDS = 3.0
"""Longest wait of a new job for other plans; then only the worker checks it."""
REMEMBERED = 512
"""Verdicts that are kept: a job posted again, or evaluated otherwise, is not planned again."""
ANSWER: TypeAdapter[PlanPreview | Failed] = TypeAdapter(PlanPreview | Failed)
BUSY = (429, 503)
Verdict = tuple[str, str, dict[str, Any]]
"""A problem: kind, detail, and what else it says."""
UNKNOWN: Verdict = ("", "", {})
limit = ConcurrencyLimit("plans", AT_ONCE, AT_ONCE - 1, "too-many-plans")
log = structlog.get_logger(__name__)
_lock = threading.Lock()
_verdicts: OrderedDict[str, Verdict | None] = OrderedDict()


def ask_engine(
    spec: PruneSpec, settings: Settings, seconds: float | None = None
) -> PlanPreview | Failed:
    """The engine's plan, or why there is none.

    Args:
        seconds: time limit; `PLAN_SECONDS` if None.

    Raises:
        Problem: it takes too long or too much memory.
        RuntimeError: the engine is defective.
    """
    root, most = str(settings.models_root.absolute()), seconds or PLAN_SECONDS
    command = [*settings.engine_command, "plan", "-", "--models-root", root]
    try:
        done = subprocess.run(
            sandbox.command(command, memory=PLAN_BYTES, seconds=PROCESSOR_SECONDS),
            input=spec.model_dump_json().encode(),
            capture_output=True,
            env=offline_environment(),
            timeout=most,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        reason = f"the plan took more than {most:g} seconds"
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


def refusal(failed: Failed, spec: PruneSpec) -> Problem:
    """The problem of a job that the engine does not plan.

    Raises:
        RuntimeError: the engine is defective.
    """
    if failed.code == "internal-error":
        raise RuntimeError(f"the engine failed to plan: {failed.message}")
    if failed.code == HubUnreachableError.code:
        detail = f"model {spec.model!r} is not in the hub cache of the API's machine"
        return Problem("model-not-cached", detail)
    detail = for_clients("; ".join(filter(None, (failed.message, failed.hint))))
    return Problem("plan-refused", detail, extensions={"code": failed.code})


def require_plannable(spec: PruneSpec, settings: Settings, owner: str) -> None:
    """Refuse a job that `POST /plans` refuses, or whose formats cannot hold the model.

    Raises:
        Problem: 422, as that of `POST /plans`.
    """
    name = _fingerprint(spec, settings)
    if name is None:
        return
    verdict = _verdicts.get(name, UNKNOWN)
    if verdict is UNKNOWN:
        try:
            verdict = _verdict(spec, settings, owner)
        except RuntimeError:
            log.exception("a new job could not be planned", model=spec.model)
            return
        except Problem as problem:
            if problem.status_code in BUSY:  # nothing is said of the job
                return
            verdict = _said(problem)
        _remember(name, verdict)
    if verdict is not None:
        kind, detail, more = verdict
        raise Problem(kind, detail, **more)


def _said(problem: Problem) -> Verdict:
    """What a problem says, without its traceback."""
    more = {"errors": problem.errors, "extensions": problem.extensions}
    return problem.kind, problem.detail, more


def _verdict(spec: PruneSpec, settings: Settings, owner: str) -> Verdict | None:
    """Plan a job; None: it can be planned, or only the worker can tell.

    Raises:
        Problem, RuntimeError: as `ask_engine`; 503 also if other plans take too long.
    """
    answer = _patiently(spec, settings, owner)
    if isinstance(answer, Failed):
        elsewhere = (HubUnreachableError.code, ModelNotFoundError.code)
        if answer.code in elsewhere and not spec.model.startswith(LOCAL):
            return None
        return _said(refusal(answer, spec))
    faults = [
        FieldError(
            pointer=place,
            message=f"{model!r} has no weights: put its safetensors files beside its config.json",
        )
        for place, model in models_of(spec).items()
        if model in answer.without_weights
    ]
    faults += [
        FieldError(
            pointer=f"/formats/{index}",
            message=f"`{one.format}` cannot hold this model: {for_clients(one.reason)}",
        )
        for index, form in enumerate(spec.formats)
        for one in answer.formats
        if one.format == form and not one.possible
    ]
    return ("invalid-request", summary(faults), {"errors": faults}) if faults else None


def _patiently(spec: PruneSpec, settings: Settings, owner: str) -> PlanPreview | Failed:
    over = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with limit.held(owner, alone=settings.auth != "keys"):
                return ask_engine(spec, settings, NEW_JOB_SECONDS)
        except Problem as problem:
            if problem.status_code not in BUSY or time.monotonic() > over:
                raise
            time.sleep(0.1)


def _remember(name: str, verdict: Verdict | None) -> None:
    with _lock:
        _verdicts[name] = verdict
        while len(_verdicts) > REMEMBERED:
            _verdicts.popitem(last=False)


def _fingerprint(spec: PruneSpec, settings: Settings) -> str | None:
    """What the verdict depends on; None if the model is not on this machine.

    Of the evaluation a plan reads the lengths, for its memory alone, which no verdict is about.
    """
    found: list[object] = [settings.engine_command]
    for place, model in models_of(spec).items():
        if model.startswith(LOCAL):
            folder = inside(settings.models_root, model.removeprefix(LOCAL))
            if (state := state_of(folder)) is None and place == "/model":
                return None
            found += [folder, state]
        else:
            found.append(int(time.monotonic()) // 60)  # the hub's cache may fill
    asked = spec.model_dump_json(exclude={"evaluation"})
    return hashlib.sha256(f"{asked} {found}".encode()).hexdigest()


def _too_large(spec: PruneSpec) -> Problem:
    detail = (
        f"planning {spec.model!r} takes more than {PLAN_BYTES >> 20} MiB of memory or "
        f"{PROCESSOR_SECONDS} s of processor time; "
        "check its config.json and the headers of its safetensors files"
    )
    return Problem("plan-refused", detail, extensions={"code": "plan-too-large"})


def offline_environment() -> dict[str, str]:
    """The engine's environment, offline and without tokens: a web request must not download."""
    kept = {
        name: value for name, value in engine_environment(os.environ).items() if "TOKEN" not in name
    }
    return kept | {"HF_HUB_OFFLINE": "1"}
