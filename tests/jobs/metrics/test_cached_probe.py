"""A sample waits a moment and no longer, and asks one question at a time."""

from __future__ import annotations

import threading
from itertools import count

from jobs.metrics.cached_probe import CachedProbe
from tests.servers import wait_until


def test_an_answer_is_good_for_a_while() -> None:
    numbers = count()
    kept = CachedProbe("numbers", lambda: next(numbers), keep=3600)
    fleeting = CachedProbe("numbers", lambda: next(numbers), keep=0)
    assert [kept.take(), kept.take()] == [0, 0]
    assert [fleeting.take(), fleeting.take()] == [1, 2]


def test_who_is_silent_is_asked_once_and_its_late_answer_used() -> None:
    asked, gate = count(), threading.Event()

    def ask() -> str:
        next(asked)
        assert gate.wait(60)
        return "late"

    slow = CachedProbe("silent", ask, keep=3600, wait=0.01)
    assert [slow.take() for _ in range(5)] == [None] * 5
    assert next(asked) == 1
    gate.set()
    wait_until(lambda: slow.take() == "late", "the late answer")


def test_a_late_answer_is_good_once_though_none_is_kept() -> None:
    asked, gate = count(), threading.Event()

    def ask() -> int:
        gate.wait(60)
        return next(asked)

    slow = CachedProbe("slow", ask, keep=0, wait=0.01)
    assert slow.take() is None
    late = slow.start()
    gate.set()
    assert late.result(60) == 0
    assert [slow.take(60) for _ in range(3)] == [0, 1, 2]


def test_after_an_error_it_is_asked_again() -> None:
    answers = iter([ConnectionError("away"), None, "back"])

    def ask() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    sample = CachedProbe("flaky", ask, keep=0)
    assert [sample.take() for _ in range(3)] == [None, "None", "back"]
