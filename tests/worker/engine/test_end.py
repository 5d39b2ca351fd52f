"""The last words of engines that fail, by real processes."""

from __future__ import annotations

import pytest

from jobs.store.engine_logs import EngineLogs
from tests.worker.conftest import Bench
from worker.engine.end import LINE_CHARACTERS, MOST_LINES, last_lines
from worker.job.supervisor import Outcome


@pytest.mark.parametrize(
    ("behaviour", "outcome", "status", "words"),
    [
        ("crash", Outcome.FAILED, 1, "RuntimeError: boom in layer 1"),
        ("killed", Outcome.KILLED, -9, None),
        ("hang", Outcome.FAILED, -15, None),
    ],
)
def test_a_failed_engine_leaves_its_last_lines_and_its_memory(
    bench: Bench, behaviour: str, outcome: Outcome, status: int, words: str | None
) -> None:
    job = bench.job()
    changes = {"engine_hang_seconds": 1.5} if behaviour == "hang" else {}
    assert bench.supervisor(behaviour, changes=changes).run(job.id) is outcome
    end = EngineLogs(bench.engine).get(job.id)
    assert end is not None
    assert (end.attempt, end.exit_status) == (1, status)
    assert end.where.startswith("stage prune")
    assert words is None or words in end.lines[-1]
    assert end.peak_bytes is not None
    assert end.peak_bytes > 1 << 20
    if behaviour == "hang":  # the others may end before they are looked at
        assert end.memory_bytes is not None
        assert end.available_bytes
    assert str(bench.settings.work_root) not in " ".join(end.lines)


@pytest.mark.parametrize(("behaviour", "outcome"), [("good", Outcome.SUCCEEDED)])
def test_an_engine_that_succeeds_leaves_none(
    bench: Bench, behaviour: str, outcome: Outcome
) -> None:
    job = bench.job()
    assert bench.supervisor(behaviour).run(job.id) is outcome
    assert EngineLogs(bench.engine).get(job.id) is None


def test_lines_are_few_and_plain() -> None:
    many = "".join(f"line {n}\r" for n in range(1000))
    assert last_lines(many) == [f"line {n}" for n in range(1000 - MOST_LINES, 1000)]
    assert last_lines("x" * 10_000) == ["x" * LINE_CHARACTERS]
    (coloured,) = last_lines("\x1b[31mred\x1b[0m\x07 \u0085 /home/ada/secret.txt\n\n \n")
    assert "red" in coloured
    assert "\x1b" not in coloured
    assert "ada" not in coloured
    hidden = "Authorization: Bearer slim_0123456789ab_0123456789abcdefgh"
    assert "0123456789abcdefgh" not in " ".join(last_lines(hidden))
