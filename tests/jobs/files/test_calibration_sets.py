"""Uploaded texts in SQL, on both databases: seen when whole, counted exactly, never orphaned."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text, update

from jobs.cursors import InvalidCursor
from jobs.files.artifacts import Artifacts
from jobs.files.calibration_sets import (
    RESERVED_SECONDS,
    CalibrationSet,
    CalibrationSets,
    Content,
    Quota,
    UploadQuotaReached,
    discard,
    named_in,
    new_set_id,
)
from jobs.store.clock import from_now
from jobs.store.store import Store
from jobs.store.tables import CALIBRATION_SETS, JOBS
from slimgpt.spec.prune import UPLOAD, PruneSpec

ROOM = Quota(sets=100, size=1 << 30)


@pytest.fixture
def sets(engine: Engine) -> CalibrationSets:
    return CalibrationSets(engine)


def content(words: str = "text", size: int = 10) -> Content:
    return Content("jsonl", 1, size, hashlib.sha256(words.encode()).hexdigest())


def made(sets: CalibrationSets, words: str, owner: str = "ada") -> CalibrationSet:
    """A set that is there."""
    set_id = new_set_id()
    assert sets.reserve(set_id, owner, f"the {words}", content(words), ROOM) is None
    found = sets.publish(set_id)
    assert found is not None
    return found


def job_on(*texts: str) -> PruneSpec:
    sources = [text if ":" in text else f"upload:{text}" for text in texts]
    calibration, *evaluation = sources
    return PruneSpec.model_validate(
        {
            "model": "local:tiny",
            "ratio": 0.5,
            "calibration": {"source": calibration},
            "evaluation": {"texts": evaluation},
        }
    )


def test_a_set_is_there_when_it_is_published_and_not_before(sets: CalibrationSets) -> None:
    set_id = new_set_id()
    assert UPLOAD.fullmatch(f"upload:{set_id}")
    assert sets.reserve(set_id, "ada", "notes", content(), ROOM) is None
    assert sets.get(set_id) is None
    assert sets.list().items == []
    assert sets.missing([set_id]) == {set_id}
    assert not sets.withdraw(set_id)
    found = sets.publish(set_id)
    assert found is not None
    assert sets.get(set_id) == sets.get(set_id, "ada") == found
    assert sets.list(owner="ada").items == [found]
    assert sets.missing([set_id], "ada") == set()
    told = (found.id, found.owner, found.name, found.format, found.documents, found.size)
    assert told == (set_id, "ada", "notes", "jsonl", 1, 10)
    assert (found.prefix, found.file) == (f"calibration-sets/{set_id}", f"{set_id}.jsonl")
    assert sets.publish(set_id) is None  # a second time is nobody's


def test_owners_see_their_own(sets: CalibrationSets) -> None:
    hers = made(sets, "secret")
    assert sets.get(hers.id, "bob") is None
    assert sets.list(owner="bob").items == []
    assert sets.missing([hers.id], "bob") == {hers.id}
    assert made(sets, "secret", "bob").id != hers.id  # the same text is a set of his own


def test_pages_go_through_all_newest_first(sets: CalibrationSets) -> None:
    all_of_them = [made(sets, f"text {n}").id for n in range(5)]
    seen, cursor = [], None
    for _ in range(3):
        page = sets.list(owner="ada", limit=2, cursor=cursor)
        seen += [found.id for found in page.items]
        cursor = page.next_cursor
    assert (seen, cursor) == (sorted(all_of_them, reverse=True), None)
    for wrong in ("am9iXzA", "%", "Y2FsXwA"):  # "job_0", none, "cal_" and a NUL
        with pytest.raises(InvalidCursor):
            sets.list(cursor=wrong)


def test_the_same_text_is_the_same_set(sets: CalibrationSets) -> None:
    first = made(sets, "same")
    assert sets.reserve(new_set_id(), "ada", "again", content("same"), ROOM) == first
    plain = Content("text", 1, 10, first.sha256)
    assert sets.reserve(new_set_id(), "ada", "as prose", plain, ROOM) is None
    # Two at once: whoever is published first stands.
    ids = [new_set_id(), new_set_id()]
    for set_id in ids:
        assert sets.reserve(set_id, "bob", "twin", content("same"), ROOM) is None
    published = [sets.publish(set_id) for set_id in ids]
    assert [found.id for found in published if found] == [ids[0], ids[0]]
    assert [found.id for found in sets.list(owner="bob").items] == [ids[0]]


def test_quotas_count_what_is_on_its_way(sets: CalibrationSets) -> None:
    few = Quota(sets=2, size=25)
    assert sets.reserve(new_set_id(), "ada", "", content("a"), few) is None  # not published
    made(sets, "b")
    with pytest.raises(UploadQuotaReached, match="ada has 2 calibration sets"):
        sets.reserve(new_set_id(), "ada", "", content("c"), few)
    assert sets.reserve(new_set_id(), "bob", "", content("a", 20), few) is None
    with pytest.raises(
        UploadQuotaReached, match=r"bob has 20 bytes .*; 6 more exceed the limit of 25"
    ):
        sets.reserve(new_set_id(), "bob", "", content("b", 6), few)
    assert sets.reserve(new_set_id(), "bob", "", content("b", 5), few) is None


def test_of_many_at_once_as_many_get_in_as_there_is_room_for(sets: CalibrationSets) -> None:
    def upload(number: int) -> bool:
        few = Quota(sets=100, size=50)
        try:
            return sets.reserve(new_set_id(), "ada", "", content(str(number)), few) is None
        except UploadQuotaReached:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(upload, range(12))) == 5


def test_a_set_in_use_stays(sets: CalibrationSets, store: Store) -> None:
    calibrated, examined, idle = (made(sets, words) for words in ("a", "b", "c"))
    job = store.create(job_on(calibrated.id, examined.id))
    assert not sets.withdraw(calibrated.id)
    assert not sets.withdraw(examined.id)
    assert sets.withdraw(idle.id)
    assert not sets.withdraw(idle.id)
    assert sets.get(idle.id) is None
    store.request_cancel(job.id)
    assert sets.withdraw(calibrated.id)
    assert sets.withdraw(examined.id)


FULL = PruneSpec.model_validate(
    {
        "model": "org/name",
        "ratio": 0.5,
        "calibration": {"source": "c4", "config": "en", "split": "train", "text_field": "text"},
        "recovery": {
            "source": "alpaca",
            "config": "en",
            "text_field": "text",
            "method": "distillation",
            "teacher": "org/name",
        },
        "evaluation": {
            "texts": ["c4"] * 8,
            "tasks": [{"name": f"t{n}", "source": "local:a"} for n in range(32)],
            "tasks_source": "local:folder",
        },
    }
)


def strings(value: Any, here: str = "") -> Iterator[str]:
    """JSON pointers of all strings."""
    if isinstance(value, str):
        yield here
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from strings(part, f"{here}/{key}")


def with_text(spec: PruneSpec, place: str, text: str) -> dict[str, Any]:
    """The specification as JSON, with another text at a place."""
    body = spec.model_dump(mode="json")
    node: Any = body
    *way, last = [int(step) if step.isdigit() else step for step in place.split("/")[1:]]
    for step in way:
        node = node[step]
    node[last] = text
    return body


def test_a_set_is_in_use_where_it_is_named_and_nowhere_else(
    sets: CalibrationSets, store: Store
) -> None:
    """Every text of a job is tried; names are what `PruneSpec.text_sources` says."""
    mine = made(sets, "mine")
    job = store.create(FULL, owner="mallory")
    places = set(strings(FULL.model_dump(mode="json")))
    assert set(FULL.text_sources) < places
    for place in places:
        body = with_text(FULL, place, f"upload:{mine.id}")
        with sets.engine.begin() as connection:
            connection.execute(update(JOBS).where(JOBS.c.id == job.id).values(spec=body))
        assert sets.withdraw(mine.id) is (place not in FULL.text_sources), place
        with sets.engine.begin() as connection:
            connection.execute(update(CALIBRATION_SETS).values(stored=True))
    store.request_cancel(job.id)
    store.create(FULL, owner="mallory", metadata={"note": f"upload:{mine.id}"})
    assert sets.withdraw(mine.id)


def test_what_a_crash_leaves_is_found_and_removed(sets: CalibrationSets, tmp_path: Path) -> None:
    artifacts = Artifacts(str(tmp_path / "artifacts"))
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "x.jsonl").write_text('"x"')
    kept, cut_off = made(sets, "kept"), made(sets, "removed half-way")
    reserved = new_set_id()
    sets.reserve(reserved, "ada", "", content("stored, not published"), ROOM)
    for set_id in (kept.id, cut_off.id, reserved):
        artifacts.put(f"calibration-sets/{set_id}", tmp_path / "new")
    sets.withdraw(cut_off.id)
    assert sets.unfinished(3600) == []  # somebody may be at work on them
    with sets.engine.begin() as connection:
        connection.execute(text("UPDATE calibration_sets SET created_at = '2026-01-01 00:00:00'"))
    found = sets.unfinished(3600)
    assert sorted(found) == sorted([cut_off.id, reserved])
    for set_id in found:
        discard(set_id, sets, artifacts)
    assert sets.unfinished(-1) == []
    assert artifacts.children("calibration-sets") == [kept.id]
    assert sets.publish(reserved) is None  # whoever was so slow hears that it is gone
    sets.forget(kept.id)
    assert sets.get(kept.id) == sets.list().items[0]  # only what is hidden is forgotten


def test_the_uploads_that_a_job_names() -> None:
    a, b = new_set_id(), new_set_id()
    spec = job_on(a, "local:x.txt", b)
    assert named_in(spec) == {"/calibration/source": a, "/evaluation/texts/1": b}
    assert named_in(job_on("local:x.txt")) == {}


def test_a_file_that_took_too_long_to_store_is_not_shown(sets: CalibrationSets) -> None:
    """The housekeeper may be about to remove it."""
    set_id = new_set_id()
    assert sets.reserve(set_id, "ada", "notes", content(), ROOM) is None
    with sets.engine.begin() as connection:
        old = from_now(-RESERVED_SECONDS - 1)
        connection.execute(update(CALIBRATION_SETS).values(created_at=old))
    assert sets.publish(set_id) is None
    assert sets.get(set_id) is None
