"""Lists of jobs by model, time and labels. On both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from jobs.states import Status
from jobs.store.lists.filters import Filter
from jobs.store.store import Store
from jobs.store.tables import JOBS
from tests.jobs.conftest import SPEC

HOUR = timedelta(hours=1)
LABELS = [
    {"team": "search", "env.tier": "a"},
    {"team": "search", "env.tier": "b"},
    {"team": "ads", "a/b:c-d": 'x=y "quoted" ü\'; --'},
    {},
]


@pytest.fixture
def ids(store: Store) -> list[str]:
    """Ids of four jobs, the last on another model."""
    specs = [SPEC, SPEC, SPEC, SPEC.model_copy(update={"model": "org/other@main"})]
    return [
        store.create(spec, metadata=labels).id for spec, labels in zip(specs, LABELS, strict=True)
    ]


def found(store: Store, where: Filter) -> set[str]:
    return {job.id for job in store.list(where=where).items}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ((("team", "search"),), {0, 1}),
        ((("team", "search"), ("env.tier", "b")), {1}),
        ((("team", "search"), ("team", "ads")), set()),
        (tuple(LABELS[2].items()), {2}),
        ((("team", ""),), set()),
        ((("env", "a"),), set()),
        ((), {0, 1, 2, 3}),
    ],
)
def test_by_labels(
    store: Store, ids: list[str], labels: tuple[tuple[str, str], ...], expected: set[int]
) -> None:
    assert found(store, Filter(metadata=labels)) == {ids[index] for index in expected}


def test_by_model(store: Store, ids: list[str]) -> None:
    assert found(store, Filter(model="org/other@main")) == {ids[3]}
    assert found(store, Filter(model=SPEC.model)) == set(ids[:3])
    assert found(store, Filter(model="%")) == set()


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("", {0, 1, 2, 3}),
        ("  ", {0, 1, 2, 3}),
        ("TINY", {0, 1, 2}),  # in the default name
        ("other@MAIN", {3}),  # in the model
        ("org/", {3}),
        ("search", {0, 1}),
        ("tier=b", {1}),
        ("search tier=b", {1}),
        ("search other", set()),
        ("ü", {2}),
        ('"quoted"', {2}),
        ("%", set()),
        ("_", set()),
        ("job_", set()),
        ("t_ny", set()),
        ("\\", set()),
        ("'", {2}),
    ],
)
def test_by_search(store: Store, ids: list[str], search: str, expected: set[int]) -> None:
    assert found(store, Filter(search=search)) == {ids[index] for index in expected}


def test_search_knows_names_and_ids(store: Store, ids: list[str]) -> None:
    named = store.create(SPEC, name="Für das Telefon").id
    assert found(store, Filter(search="telefon")) == {named}
    for part in (named, named[4:], named[-8:].upper()):
        assert found(store, Filter(search=part)) == {named}
    assert found(store, Filter(search="ratio 0.5")) == set(ids)  # not in a name of one's own


def test_a_job_of_an_earlier_version_is_found_by_its_model(store: Store, ids: list[str]) -> None:
    with store.engine.begin() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == ids[3]).values(name=None))
    assert found(store, Filter(search="other")) == {ids[3]}
    (job,) = store.list(where=Filter(search="other")).items
    whole = store.get(ids[3])
    assert whole is not None
    assert job.name == whole.name == "other@main, ratio 0.5"


def test_by_time(store: Store, ids: list[str]) -> None:
    now = datetime.now(UTC)
    assert found(store, Filter(created_after=now - HOUR, created_before=now + HOUR)) == set(ids)
    assert found(store, Filter(created_after=now + HOUR)) == set()
    assert found(store, Filter(created_before=now - HOUR)) == set()
    job = store.get(ids[1])
    assert job is not None
    at = job.created_at
    assert ids[1] in found(store, Filter(created_after=at))  # included
    assert ids[1] not in found(store, Filter(created_before=at))  # not included


def test_filters_narrow_each_other_and_pages_keep_them(store: Store, ids: list[str]) -> None:
    store.claim(ids[0], "w")
    where = Filter(model=SPEC.model)
    page = store.list(status=Status.QUEUED, where=where, limit=1)
    assert [job.id for job in page.items] == [ids[2]]
    rest = store.list(status=Status.QUEUED, where=where, cursor=page.next_cursor)
    assert [job.id for job in rest.items] == [ids[1]]
