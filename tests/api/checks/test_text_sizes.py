"""A text that is surely too short is refused, at a cost that no file decides."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from api.checks.text_sizes import COUNTED_BYTES, SPECIAL, too_little_text
from api.http.validation import FieldError
from jobs.files.calibration_sets import CalibrationSets
from jobs.store.store import Store
from slimgpt.spec.prune import PruneSpec

LARGE = 256 << 20


def faults(store: Store, root: Path, samples: int, length: int) -> list[FieldError]:
    calibration = {"source": "local:text.txt", "samples": samples, "sequence_length": length}
    fields = {"model": "local:a", "ratio": 0.2, "calibration": calibration}
    spec = PruneSpec.model_validate(fields)
    return too_little_text(spec, root, CalibrationSets(store.engine))


@pytest.mark.parametrize("content", [b"a", b"a\n\nb\n", b"\n" * 5000, b"word " * 1_000_000])
def test_it_is_refused_by_the_most_tokens_that_it_can_have(
    store: Store, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "text.txt").write_bytes(content)
    most = len(content) + SPECIAL * len(content.split(b"\n"))
    length = 8 if most < 100_000 else 1024
    assert faults(store, tmp_path, most // length or 1, length) == [] or most < length
    (fault,) = faults(store, tmp_path, most // length + 1, length)
    assert (fault.pointer, f"at most {most:,} tokens" in fault.message) == (
        "/calibration/source",
        True,
    )


def test_a_large_file_is_not_read(store: Store, tmp_path: Path) -> None:
    """Were every byte a document, it would have so many tokens; and a job asks for any number."""
    with (tmp_path / "text.txt").open("wb") as file:
        os.truncate(file.fileno(), LARGE)
    most = LARGE * (1 + SPECIAL)
    tracemalloc.start()
    try:
        assert faults(store, tmp_path, most // 131_072, 131_072) == []
        assert len(faults(store, tmp_path, most // 131_072 + 1, 131_072)) == 1
        assert tracemalloc.get_traced_memory()[1] < 2 * COUNTED_BYTES
    finally:
        tracemalloc.stop()


def test_compressed_files_are_left_to_the_worker(store: Store, tmp_path: Path) -> None:
    for head in (b"\x1f\x8b", b"PAR1"):
        (tmp_path / "text.txt").write_bytes(head + b"x" * 10)
        assert faults(store, tmp_path, 1000, 2048) == []
