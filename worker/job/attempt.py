"""`Attempt`: one engine run while the lease holds.

1. Start the engine in the job's working folder.
2. Every event goes to the store (guarded by the epoch), then to progress.
3. Between events, check whether to stop: lease lost, cancel, shutdown, hang, time limit.
4. Return how the attempt ended. The supervisor decides what this means for the job.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable

import structlog

from jobs.environment import engine_environment
from jobs.messages.progress import Progress
from jobs.settings import Settings
from jobs.store.engine_logs import EngineLogs
from jobs.store.records import Claim
from jobs.store.store import Store
from slimgpt.events import (
    AnyEvent,
    Failed,
    LayerFinished,
    Planned,
    Result,
    StageFinished,
    StageStarted,
    Warned,
)
from worker import metrics
from worker.engine.end import engine_end
from worker.engine.memory import MemoryWatch
from worker.engine.process import EngineProcess, start
from worker.engine.warm import WarmEngine
from worker.job import attempt_result
from worker.job.attempt_result import AttemptResult, Failure, Killed, Stopped, StopReason
from worker.job.cancellation import stop_reason
from worker.job.lease import Lease, LeaseLost
from worker.job.publication import TELL_SECONDS
from worker.job.shared_layers import SharedLayers
from worker.job.workfolder import WorkFolder

TICK_SECONDS = 0.2
"""Percent and time left go on at least this often while the engine is silent."""
STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
SIGNAL_SECONDS = 5.0
"""Longest wait for the worker's own stop signal after the engine died of one of these."""
log = structlog.get_logger(__name__)


class Attempt:
    """Runs the engine for a claim.

    Args:
        settings: the engine's command, its roots, device and deadlines.
        store: receives events as rows.
        progress: receives events for status and event streams.
        lease: of the claim; its renewal thread is running.
        shutting_down: returns whether the worker was asked to stop.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        progress: Progress,
        claim: Claim,
        lease: Lease,
        shutting_down: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._store = store
        self._progress = progress
        self._id, self._epoch, self._began = claim.job.id, claim.epoch, claim.began
        self._number = claim.attempt
        self._lease = lease
        self._shutting_down = shutting_down
        self._last: Result | Failed | None = None
        self._where = "its start"

    def run(
        self, folder: WorkFolder, layers: SharedLayers, warm: WarmEngine | None = None
    ) -> AttemptResult:
        """Run the engine until it ends; no engine process is left when this returns.

        Args:
            folder: the engine's working folder.
            layers: is notified of every finished layer.
            warm: an engine that waits for a job; None, or if it has ended: one is started.

        Raises:
            OSError: the engine can't be started.
        """
        engine = EngineProcess(self._started(folder, warm))
        log.info("engine started", engine_pid=engine.pid, resume=folder.resume)
        memory = MemoryWatch(engine.pid)
        try:
            ended = self._watch(engine, layers, memory)
            log.info("engine ended", ending=type(ended).__name__, garbage=engine.garbage)
            if isinstance(ended, Failure | Killed):
                end = engine_end(engine, memory, self._number, self._where)
                logs = EngineLogs(self._store.engine)
                self._lease.persist(lambda: logs.put(self._id, self._epoch, end))
            return ended
        finally:
            engine.close()

    def _started(self, folder: WorkFolder, warm: WarmEngine | None) -> subprocess.Popen[bytes]:
        arguments, keep = self._arguments(folder), [folder.lock]
        if warm is not None:
            taken = warm.take(arguments, folder=folder.engine, keep=keep)
            if taken is not None:
                return taken
        return start(
            [*self._settings.engine_command, *arguments],
            folder=folder.engine,
            environment=engine_environment(os.environ),
            keep=keep,
        )

    def _arguments(self, folder: WorkFolder) -> list[str]:
        settings = self._settings
        return [
            "run",
            str(folder.spec),
            str(folder.engine),
            "--models-root",
            str(settings.models_root),
            "--texts-root",
            str(settings.texts_root),
            "--uploads-root",
            str(folder.uploads),
            "--device",
            settings.device,
            "--max-devices",
            str(settings.max_devices),
            "--began",
            repr(self._began),
            "--keep-layers",  # if publishing fails, a retry resumes from them
            *(["--resume"] if folder.resume else []),
        ]

    def _watch(
        self, engine: EngineProcess, layers: SharedLayers, memory: MemoryWatch
    ) -> AttemptResult:
        started = heard = told = time.monotonic()
        while True:
            memory.look()
            try:
                event = engine.next_event(TICK_SECONDS)
                if event is not None:
                    heard = told = time.monotonic()
                    self._record(event)
                    if isinstance(event, LayerFinished):
                        layers.layer_finished()
                elif time.monotonic() - told > TELL_SECONDS:
                    told = time.monotonic()
                    self._progress.tick(self._id)
            except EOFError:
                return self._result(engine)
            except LeaseLost:
                engine.stop(0)
                return Stopped("lost")
            if (stop := self._check_limits(started, heard)) is not None:
                lost = isinstance(stop, Stopped) and stop.reason == "lost"
                engine.stop(0 if lost else self._settings.engine_stop_seconds)
                return stop

    def _check_limits(self, started: float, heard: float) -> Stopped | Failure | None:
        settings, now = self._settings, time.monotonic()
        if (reason := stop_reason(self._lease, self._shutting_down)) is not None:
            return Stopped(reason)
        if now - heard > settings.engine_hang_seconds:
            return attempt_result.hung(settings.engine_hang_seconds, self._where)
        limit = settings.job_time_limit_seconds
        if limit is not None and now - started > limit:
            return attempt_result.time_limit_exceeded(limit, self._where)
        return None

    def _result(self, engine: EngineProcess) -> AttemptResult:
        result = attempt_result.from_exit(
            engine.returncode,
            self._last,
            self._where,
            engine.tail,
            engine.peak_bytes,
            engine.memory,
        )
        failed = isinstance(result, Failure | Killed)
        if failed and (reason := self._late_stop_reason(engine)) is not None:
            return Stopped(reason)
        if failed and engine.tail:
            log.warning("what the engine wrote last", stderr=engine.tail)
        return result

    def _late_stop_reason(self, engine: EngineProcess) -> StopReason | None:
        """The reason to stop, if the engine received the stop signal before this process did.

        A shutdown of the machine or of a systemd unit signals every process, and the engine dies
        at once.
        """
        deadline = time.monotonic() + SIGNAL_SECONDS
        while (reason := stop_reason(self._lease, self._shutting_down)) is None:
            if -engine.returncode not in STOP_SIGNALS or time.monotonic() > deadline:
                return None
            time.sleep(TICK_SECONDS)
        return reason

    def _record(self, event: AnyEvent) -> None:
        """Write the event to the store, which is authoritative, then to progress."""
        if isinstance(event, Result | Failed):
            self._last = event
        else:
            self._update_position(event)
            self._store_event(event)
        self._progress.record(self._id, event)
        metrics.record_event(event)

    def _update_position(self, event: AnyEvent) -> None:
        if isinstance(event, StageStarted):
            self._where = f"stage {event.stage}"
        elif isinstance(event, StageFinished):
            self._where = f"the step after stage {event.stage}"
        elif isinstance(event, LayerFinished):
            self._where = f"stage prune, after layer {event.done} of {event.layers_total}"

    def _store_event(self, event: AnyEvent) -> None:
        store, job_id, epoch = self._store, self._id, self._epoch
        if isinstance(event, StageStarted):
            self._lease.write(lambda: store.stage(job_id, epoch, event.stage))
        elif isinstance(event, Planned):
            self._lease.write(lambda: store.planned(job_id, epoch, event))
        elif isinstance(event, LayerFinished):
            self._lease.write(lambda: store.layer_done(job_id, epoch, event))
        elif isinstance(event, Warned):
            self._lease.write(lambda: store.warn(job_id, epoch, event))
