"""Any sequence of steps, against a model of a job's life that is a dozen lines of Python."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from jobs.states import TERMINAL, Status
from jobs.store.database import make_engine
from jobs.store.store import Store
from tests.jobs.conftest import SPEC, layer

ERROR = {"code": "c", "message": "m", "hint": "h"}
EPOCHS = st.integers(1, 4)


class Life(RuleBasedStateMachine):
    """One job; workers come with any epoch, right or stale, and try everything."""

    template: Path

    @initialize()
    def create(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slimgpt-life-"))
        shutil.copyfile(self.template, self.folder / "db")
        self.engine = make_engine(f"sqlite:///{self.folder / 'db'}")
        self.store = Store(self.engine, max_attempts=3)
        self.id = self.store.create(SPEC).id
        self.status, self.epoch, self.attempt, self.most = Status.QUEUED, 0, 0, 3
        self.layers: dict[int, int] = {}

    def held_by(self, epoch: int, *statuses: Status) -> bool:
        return epoch == self.epoch and self.status in statuses

    @rule()
    def claim(self) -> None:
        expected = self.status is Status.QUEUED
        assert (self.store.claim(self.id, "w") is not None) == expected
        if expected:
            self.status = Status.RUNNING
            self.epoch, self.attempt = self.epoch + 1, self.attempt + 1

    @rule(epoch=EPOCHS)
    def renew(self, epoch: int) -> None:
        expected = self.held_by(epoch, Status.RUNNING, Status.CANCELLING)
        for seen in (self.store.renew(self.id, epoch), self.store.look(self.id, epoch)):
            assert (seen is not None) == expected
            assert seen is None or seen.cancel_requested == (self.status is Status.CANCELLING)

    @rule(epoch=EPOCHS, number=st.integers(0, 3))
    def layer_done(self, epoch: int, number: int) -> None:
        expected = self.held_by(epoch, Status.RUNNING, Status.CANCELLING)
        assert self.store.layer_done(self.id, epoch, layer(number)) == expected
        if expected:
            self.layers[number] = epoch

    @rule(epoch=EPOCHS)
    def finish(self, epoch: int) -> None:
        done = self.store.finish(self.id, epoch, prefix=f"p/{epoch}", result={}, report={})
        self.end(done, self.held_by(epoch, Status.RUNNING), Status.SUCCEEDED)

    @rule(epoch=EPOCHS)
    def fail(self, epoch: int) -> None:
        done = self.store.fail(self.id, epoch, ERROR)
        self.end(done, self.held_by(epoch, Status.RUNNING), Status.FAILED)

    @rule(epoch=EPOCHS)
    def cancelled(self, epoch: int) -> None:
        done = self.store.cancelled(self.id, epoch)
        self.end(done, self.held_by(epoch, Status.CANCELLING), Status.CANCELLED)

    @rule(epoch=EPOCHS)
    def release(self, epoch: int) -> None:
        expected = self.held_by(epoch, Status.RUNNING)
        self.end(self.store.release(self.id, epoch), expected, Status.QUEUED)
        self.attempt -= expected

    @rule(epoch=EPOCHS)
    def engine_killed(self, epoch: int) -> None:
        expected = self.held_by(epoch, Status.RUNNING) and self.attempt < self.most
        kills = [{"where": "stage prune", "bytes": 1}]
        self.end(self.store.engine_killed(self.id, epoch, kills), expected, Status.QUEUED)

    def end(self, done: bool, expected: bool, status: Status) -> None:
        assert done == expected
        if expected:
            self.status = status

    @rule()
    def request_cancel(self) -> None:
        job = self.store.request_cancel(self.id)
        following = {Status.QUEUED: Status.CANCELLED, Status.RUNNING: Status.CANCELLING}
        self.status = following.get(self.status, self.status)
        assert job is not None
        assert job.status is self.status

    @rule(anew=st.booleans())
    def retry(self, anew: bool) -> None:
        expected = self.status in (Status.FAILED, Status.CANCELLED)
        assert self.store.retry(self.id, anew=anew) == expected
        if expected:
            self.status, self.most = Status.QUEUED, self.attempt + 3

    @rule()
    def remove(self) -> None:
        """A job that is over goes, and another takes its place."""
        job = self.store.get(self.id)
        assert job is not None
        assert self.store.remove(job) == (self.status in TERMINAL)
        if self.status in TERMINAL:
            assert not self.store.remove(job)
            assert self.store.get(self.id) is None
            assert self.store.layers(self.id) == []
            self.id, self.layers = self.store.create(SPEC).id, {}
            self.status, self.epoch, self.attempt, self.most = Status.QUEUED, 0, 0, 3

    @rule(expired=st.booleans())
    def reap(self, expired: bool) -> None:
        reaped = self.store.reap(datetime.now(UTC) + timedelta(days=1) if expired else None)
        held = self.status in (Status.RUNNING, Status.CANCELLING)
        assert len(reaped) == (expired and held)
        if not reaped:
            return
        again = Status.QUEUED if self.attempt < self.most else Status.FAILED
        self.status = Status.CANCELLED if self.status is Status.CANCELLING else again
        assert reaped[0].status is self.status

    @invariant()
    def the_row_agrees(self) -> None:
        job = self.store.get(self.id)
        assert job is not None
        state = (job.status, job.lease_epoch, job.attempt)
        assert state == (self.status, self.epoch, self.attempt)
        assert (job.finished_at is not None) == (self.status in TERMINAL)
        assert (job.worker is not None) == (self.status in (Status.RUNNING, Status.CANCELLING))
        assert (job.artifacts_prefix is not None) == (self.status is Status.SUCCEEDED)
        assert (job.error is not None) == (self.status is Status.FAILED)
        assert {found.layer: found.epoch for found in self.store.layers(self.id)} == self.layers

    def teardown(self) -> None:
        self.engine.dispose()
        shutil.rmtree(self.folder)


def test_any_life(migrated_sqlite: Path) -> None:

    Life.template = migrated_sqlite
    run_state_machine_as_test(
        Life, settings=settings(max_examples=40, stateful_step_count=25, deadline=None)
    )
