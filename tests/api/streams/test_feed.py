"""A feed gives what came after an event, whichever it is, and says when it does not have it all."""

from __future__ import annotations

import pytest

from api.streams.feed import RECENT, Feed, order, sent
from jobs.messages.progress import Entry


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
