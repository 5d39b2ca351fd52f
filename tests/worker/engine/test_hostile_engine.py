"""Whatever an engine does, the worker goes on, and its job ends with a reason."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from slimgpt.machine import memory
from tests.progress import entries
from tests.worker.conftest import Bench
from worker.job.supervisor import Outcome

ENGINE = Path(__file__).with_name("hostile_engine.py")
MAX_ROW = 2 << 20
MAX_GROWTH = 1 << 30
CPU = torch.device("cpu")


def attack(bench: Bench, how: str) -> tuple[Outcome, str]:
    """Let an engine attack. Returns what became of its job, and the code and words of the error."""
    job = bench.job()
    command = (sys.executable, "-S", str(ENGINE), how)
    outcome = bench.supervisor("", changes={"engine_command": command}).run(job.id)
    now = bench.again(job)
    assert len(repr(now)) < MAX_ROW
    assert len("".join(entry.data for entry in entries(bench.progress, job.id))) < MAX_ROW
    error = now.error or {}
    return outcome, f"{error.get('code', '')}: {error.get('message', '')}"


@pytest.mark.parametrize(
    "how",
    [
        "no-line",
        "empty-lines",
        "brackets",
        "deep-result",
        "long-events",
        "many-warnings",
        "huge-numbers",
        "negative",
        "no-numbers",
        "nul",
        "other-stage",
    ],
)
@pytest.mark.skipif(
    not memory.CLEAR.exists(), reason="only Linux can clear the mark of peak memory"
)
def test_what_it_says_is_bounded_and_no_success(bench: Bench, how: str) -> None:
    memory.forget_peak(CPU)  # of earlier tests
    before = memory.peak_bytes(CPU)
    outcome, error = attack(bench, how)
    assert outcome is Outcome.FAILED, error
    assert error.startswith(("engine-protocol: ", "worker-error: "))
    assert memory.peak_bytes(CPU) - before < MAX_GROWTH
    good = bench.job()
    assert bench.supervisor("good").run(good.id) is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("folder-link", "'checkpoint' is not a folder below the working folder"),
        ("report-pipe", "report.json is not a regular file"),
        ("report-link", "report.json"),
        ("report-sparse", "report.json is larger than 64 MiB"),
        ("report-deep", "maximum recursion depth"),
        ("file-link", "'model.safetensors' is neither a file nor a folder"),
        ("file-pipe", "'model.safetensors' is neither a file nor a folder"),
        ("file-sparse", "is larger than what was written"),
        ("backslash", "is not a plain relative path"),
    ],
)
def test_what_it_leaves_is_not_published(bench: Bench, how: str, words: str) -> None:
    outcome, error = attack(bench, how)
    assert outcome is Outcome.FAILED
    assert words in error
    assert not [path for path in Path(bench.settings.artifacts_url).rglob("*") if path.is_file()]
    assert bench.work_folders() == []


def test_odd_names_are_published_as_they_are(bench: Bench) -> None:
    outcome, error = attack(bench, "odd-names")
    assert outcome is Outcome.SUCCEEDED, error
    root = Path(bench.settings.artifacts_url).resolve()
    assert all(path.resolve().is_relative_to(root) for path in root.rglob("*"))
