"""A feed gives what came after an event, whichever it is, and says when it does not have it all."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import anyio
import pytest

from api.schemas.job_status import job_status
from api.streams import feeds
from api.streams.feed import RECENT, Feed, order, sent
from jobs.messages.progress import Entry, ProgressReader
from jobs.messages.snapshot import Snapshot
from jobs.states import Status
from jobs.store.records import StatusRow
from jobs.store.store import Store


def entries(count: int) -> list[Entry]:
    """Ids as Redis gives them, of which text does not sort: 99-9 comes before 99-10, and 100-0."""
    ids = [f"{98 + number // 12}-{number % 12}" for number in range(count)]
    return [Entry(name, f'{{"type": "progress", "done": {n}}}') for n, name in enumerate(ids)]


@pytest.mark.parametrize("count", [1, 40, RECENT, RECENT + 30])
def test_what_came_after_an_event_is_all_that_came_later(count: int) -> None:
    told, feed = entries(count), Feed("job_1")
    feed.begin("0-0")
    for start in range(0, count, 7):
        feed.add(told[start : start + 7])
    kept = told[-RECENT:]
    before = told[-RECENT - 1].id if count > RECENT else "0-0"
    for last in (before, *(entry.id for entry in kept)):
        later = [entry for entry in kept if order(entry.id) > order(last)]
        expected = b"".join(map(sent, later)), later[-1].id if later else last
        assert feed.after(last) == expected
    for lost in told[: -RECENT - 1]:
        assert feed.after(lost.id) is None


class Rows:
    """A store in which a job stays as it is, and a Redis that knows nothing of it."""

    row = StatusRow("job_1", Status.RUNNING, "prune", 1, 2, 4, None)

    def status_rows(self, job_ids: list[str]) -> dict[str, StatusRow]:
        return dict.fromkeys(job_ids, self.row)

    async def last(self, _: object) -> dict[str, str]:
        return {}

    async def after(self, *_: object) -> dict[str, list[Entry]]:
        return {}

    async def read_all(self, _: object) -> dict[str, Snapshot]:
        return {}


def test_an_old_state_of_who_comes_late_does_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was read before the newest was told, and the row does not change again."""
    monkeypatch.setattr(feeds, "LOOK_SECONDS", 0.01)
    old = job_status(replace(Rows.row, layers_done=1), None)

    async def follow_twice() -> None:
        of = feeds.Feeds(cast(Store, Rows()), cast(ProgressReader, Rows()))
        with of.follow(old) as feed, anyio.fail_after(30):
            while b'"layers_done":2' not in feed.state:
                await feed.changed.wait()
            with of.follow(old):
                assert b'"layers_done":1' in feed.state
                while b'"layers_done":2' not in feed.state:
                    await anyio.sleep(0.01)
        await of.close()

    anyio.run(follow_twice)
