"""Pages of sorted lists: every job once, in the order of Python's own sort. On both databases."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest
from sqlalchemy import update

from jobs.cursors import InvalidCursor
from jobs.states import TERMINAL, Status
from jobs.store.lists.filters import Filter
from jobs.store.lists.order import Order, SortKey
from jobs.store.lists.sort_values import sort_values
from jobs.store.store import Store
from jobs.store.tables import JOBS
from tests.jobs.conftest import SPEC

NAMES = ["b", "B", "a", "ä 1", "a/b%_", "quote \"'", None, "zz", "a", "b, c"]
PERPLEXITY = [3.1, 1 / 3, None, 1e300, 2, 3.1, None, 0.1 + 0.2, 3.1, "nan"]
PARAMETERS = [10**15, 7, 7, None, 10, 9, 8, 11, None, 7]
DONE = [(1, 3), (2, 3), (0, None), (3, 3), (2, 3), (0, 3), (1, 7), (0, 0), (5, 7), (1, 3)]
ENDS = {1: Status.SUCCEEDED, 3: Status.SUCCEEDED, 8: Status.FAILED, 9: Status.CANCELLED}
RUNNING = {4: Status.RUNNING, 0: Status.CANCELLING}
KEYS = [*SortKey]


@pytest.fixture
def jobs(store: Store) -> list[dict[str, Any]]:
    """Rows of ten jobs in which each key has ties, odd values and gaps, oldest first."""
    rows = []
    for number, name in enumerate(NAMES):
        job = store.create(SPEC, name=name, owner="ann" if number % 3 else "bob")
        result = {
            "parameters_after": PARAMETERS[number],
            "ratio_achieved": None if number % 2 else number / 7,
            "perplexity": [{"pruned": PERPLEXITY[number], "recovered": None}] * (number != 2),
        }
        done, total = DONE[number]
        status = (ENDS | RUNNING).get(number, Status.QUEUED)
        changed: dict[str, Any] = {"layers_done": done, "layers_total": total, "status": status}
        changed |= sort_values(result)
        with store.engine.begin() as connection:
            connection.execute(update(JOBS).where(JOBS.c.id == job.id).values(changed))
        measured = PERPLEXITY[number]
        rows.append(
            {
                "id": job.id,
                "created_at": job.id,
                "name": job.name.lower(),
                "status": str(status),
                "owner": job.owner,
                "ratio": 0.5 if number % 2 else number / 7,  # as asked for where none is reached
                "progress": progress(status, done, total),
                "parameters": PARAMETERS[number],
                "perplexity": measured if isinstance(measured, int | float) else None,
            }
        )
    return rows


def progress(status: Status, done: int, total: int | None) -> float | None:
    """Of jobs that are over, those that succeeded are ahead of all, and others have none."""
    if status == Status.SUCCEEDED:
        return math.inf
    return done / total if total and status not in TERMINAL else None


def walk(store: Store, order: Order, limit: int, **more: Any) -> list[str]:
    """The ids of all pages."""
    seen, cursor = [], None
    while True:
        page = store.list(order=order, limit=limit, cursor=cursor, **more)
        seen += [job.id for job in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return seen


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("key", KEYS)
def test_pages_hold_every_job_once_in_order(
    store: Store, jobs: list[dict[str, Any]], key: SortKey, descending: bool
) -> None:
    order = Order(key, descending)
    whole = walk(store, order, 200)
    by_id = {job["id"]: job for job in jobs}
    assert sorted(whole) == sorted(by_id)
    values = [by_id[job_id][key.value] for job_id in whole]
    there = [value for value in values if value is not None]
    assert values == there + [None] * (len(values) - len(there))
    if key is not SortKey.NAME:  # whose order is that of the database's language
        assert there == sorted(there, reverse=descending)
    for value in set(values):
        ties = [job_id for job_id in whole if by_id[job_id][key.value] == value]
        assert ties == sorted(ties, reverse=True)
    for limit in (1, 2, 3, 10):
        assert walk(store, order, limit) == whole


def test_names_sort_without_case(store: Store, jobs: list[dict[str, Any]]) -> None:
    names = [job.name for job in store.list(order=Order(SortKey.NAME, False)).items]
    assert names.index("b") < names.index("zz") > names.index("B")
    assert {names.index("b"), names.index("B")} == {names.index("B"), names.index("B") + 1}


def test_sorted_pages_keep_their_filter(store: Store, jobs: list[dict[str, Any]]) -> None:
    found = walk(store, Order(SortKey.PERPLEXITY), 2, where=Filter(search="a"), owner="ann")
    wanted = {job["id"] for job in jobs if job["owner"] == "ann"}
    assert set(found) == wanted  # `a` is in the model of all
    assert len(found) == len(wanted)


def test_a_job_that_comes_meanwhile_moves_nothing(store: Store, jobs: list[dict[str, Any]]) -> None:
    order = Order(SortKey.NAME, False)
    whole = walk(store, order, 200)
    first = store.list(order=order, limit=4)
    store.create(SPEC, name="0 before all of them")
    rest = store.list(order=order, limit=200, cursor=first.next_cursor)
    assert [job.id for job in first.items + rest.items] == whole


def position(*values: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "am9i",
        position("-perplexity", 1.0, "job_a"),  # of the other direction
        position("name", "a", "job_a"),
        position("perplexity", "a", "job_a"),
        position("perplexity", [1], "job_a"),
        position("perplexity", True, "job_a"),
        position("perplexity", 10**400, "job_a"),
        position("perplexity", float("inf"), "job_a"),
        position("perplexity", 1.0, "key_a"),
        position("perplexity", 1.0, 7),
        position("perplexity", 1.0),
        position({}),
        "W" * 5000,
    ],
)
def test_foreign_cursors_are_refused(store: Store, cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        store.list(order=Order(SortKey.PERPLEXITY, False), cursor=cursor)


@pytest.mark.parametrize("value", ["\0", "\ud800", 1])
def test_texts_that_no_database_takes_are_refused(store: Store, value: Any) -> None:
    with pytest.raises(InvalidCursor):
        store.list(order=Order(SortKey.NAME, False), cursor=position("name", value, "job_a"))


def test_an_order_is_read_as_it_is_written() -> None:
    for key in KEYS:
        for descending in (False, True):
            assert Order.parse(str(Order(key, descending))) == Order(key, descending)
    with pytest.raises(ValueError, match="secret"):
        Order.parse("secret")
