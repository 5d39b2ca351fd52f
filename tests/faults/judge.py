"""`judge`: one fault done to one job, the service repaired, and everything looked at."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from slimgpt.spec.prune import PruneSpec
from tests.faults import invariants
from tests.faults.faults import FAULTS, Fault
from tests.faults.stack import ENGINE, Stack
from tests.faults.trial import CancelTimes, Trial
from tests.servers import wait_until

END_SECONDS = 90.0
SETTLE_LOOKS, SETTLE_SECONDS = 3, 10.0
PAUSE_SECONDS = 4.0
TIMED = ("report.json", "report.html", "provenance.json")  # name times, machines and durations


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a trial. `violations` is empty, or something is broken."""

    fault: str
    seed: str
    engine: str
    status: str
    code: str
    epochs: int
    attempts: int
    lost: int
    seconds: float
    violations: list[str] = field(default_factory=list)
    cancel_times: CancelTimes | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def judge(stack: Stack, name: str, seed: str, clean: dict[str, str], body: Any = None) -> Verdict:
    """Do it, and say what came of it; the job is removed afterwards.

    Args:
        stack: whole and idle; it is again afterwards, if nothing is broken.
        name: of one of `FAULTS`.
        seed: of all that is random.
        clean: what a clean run publishes; see `clean_run`.
        body: the job, if not that of the scripted engine.
    """
    fault = FAULTS[name]
    trial = Trial(stack, seed) if body is None else Trial(stack, seed, body)
    began = time.monotonic()
    found = _gone_wrong(lambda: fault.do(trial), "the fault could not be done")
    found += _gone_wrong(stack.repair, "the service could not be repaired")
    if trial.job_id:
        with suppress(TimeoutError):  # `violations` says it
            trial.until(lambda job: job.terminal, END_SECONDS)
        _settle(trial, fault)
    found += _gone_wrong(
        lambda: found.extend(invariants.violations(trial, fault, clean)), "not checked"
    )
    job = trial.now()
    verdict = Verdict(
        fault=name,
        seed=seed,
        engine="script" if body is None else "real",
        status=str(job.status) if job else "gone",
        code=(job.error or {}).get("code", "") if job else "",
        epochs=job.lease_epoch if job else 0,
        attempts=job.attempt if job else 0,
        lost=invariants.losses(trial),
        seconds=round(time.monotonic() - began, 2),
        violations=found,
        cancel_times=trial.cancel_times,
    )
    found += _gone_wrong(lambda: _remove(trial), "the job could not be removed")
    if fault.hurts_hints:  # workers leave a Redis alone that was away: the next job would miss it
        time.sleep(PAUSE_SECONDS)
    return verdict


def _gone_wrong(step: Callable[[], Any], what: str) -> list[str]:
    try:
        step()
    except Exception as error:
        return [f"{what}: {type(error).__name__}: {error}"]
    return []


def _settle(trial: Trial, fault: Fault) -> None:
    """Give the service the time, and the message, that it needs to clean up after the job."""
    for _ in range(SETTLE_LOOKS):
        # Nothing to claim: the worker that takes it sweeps its work root, which may be too early.
        trial.stack.queue.publish(trial.job_id)
        with suppress(TimeoutError):  # the checks name what is left
            wait_until(
                lambda: invariants.settled(trial, fault), "the service cleaned up", SETTLE_SECONDS
            )
            return


def _remove(trial: Trial) -> None:
    """Remove the job, and see that nothing of it is left."""
    trial.stack.http.delete(f"/jobs/{trial.job_id}").raise_for_status()
    left = [path for path in trial.stack.files() if trial.job_id in path]
    assert not left, f"a removed job has files: {left}"
    with trial.stack.redis.client() as client:
        assert not list(client.scan_iter(f"*{trial.job_id}*")), "a removed job has progress"


def clean_run(folder: Path, body: dict[str, Any], *roots: str) -> dict[str, str]:
    """Run the engine alone, without any service; SHA-256 by path of what it makes.

    The hash is empty where a file tells of times.
    """
    spec, work = folder / "spec.json", folder / "work"
    folder.mkdir(parents=True)
    work.mkdir()
    spec.write_text(PruneSpec.model_validate(body).model_dump_json(indent=2))
    command = [sys.executable, str(ENGINE), "0", "run", str(spec), str(work), *roots]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    assert json.loads(done.stdout.splitlines()[-1])["type"] == "result"
    made = invariants.digests(work / "checkpoint")
    timed = () if body["model"] == "local:scripted" else TIMED
    return {path: "" if path in timed else digest for path, digest in made.items()}
