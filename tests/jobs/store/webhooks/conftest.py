"""Webhooks in a store, and jobs that end, on both databases."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.store.records import Job
from jobs.store.store import Store
from jobs.store.webhooks.deliveries import Deliveries
from jobs.store.webhooks.endpoints import Webhooks
from jobs.store.webhooks.records import JOB_EVENTS, Delivery, Webhook
from jobs.store.webhooks.signatures import Signatures
from tests.jobs.conftest import SPEC

PEPPER = "a pepper that only the tests know, of some length"
URL = "https://receiver.example/hook"
ERROR = {"code": "model-error", "message": "layer 3: not finite", "hint": "raise damping"}


class Ends:
    """Jobs that end, and the webhooks that are to hear of it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.webhooks = Webhooks(store.engine)
        self.deliveries = Deliveries(store.engine)
        self.signatures = Signatures(PEPPER)

    def webhook(self, owner: str = "ada", **given: Any) -> Webhook:
        """A webhook of an owner, for all events unless some are given."""
        values = {"events": JOB_EVENTS, "most": 100, **given}
        return self.webhooks.create(URL, self.signatures, owner=owner, **values)

    def cancelled(self, owner: str = "ada", **given: Any) -> Job:
        """A job that was cancelled while it waited."""
        job = self.store.create(SPEC, owner=owner, **given)
        ended = self.store.request_cancel(job.id)
        assert ended is not None
        return ended

    def failed(self, owner: str = "ada") -> Job:
        """A job that failed."""
        job = self.store.create(SPEC, owner=owner)
        claim = self.store.claim(job.id, "worker")
        assert claim is not None
        assert self.store.fail(job.id, claim.epoch, ERROR)
        ended = self.store.get(job.id)
        assert ended is not None
        return ended

    def succeeded(self, owner: str = "ada") -> Job:
        """A job that succeeded."""
        job = self.store.create(SPEC, owner=owner, metadata={"team": "grüße"})
        claim = self.store.claim(job.id, "worker")
        assert claim is not None
        result = {"ratio_achieved": 0.5, "parameters_after": 450, "layers": [1] * 100}
        assert self.store.finish(job.id, claim.epoch, prefix="p", result=result, report={"a": 1})
        ended = self.store.get(job.id)
        assert ended is not None
        return ended

    def told(self, webhook: Webhook) -> list[Delivery]:
        """What was written for a webhook, oldest first."""
        return self.deliveries.list(webhook.id, limit=200).items[::-1]


@pytest.fixture
def ends(store: Store) -> Ends:
    return Ends(store)
