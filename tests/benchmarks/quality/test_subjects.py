"""Calibration and held-out text have no document in common."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.quality import texts
from benchmarks.quality.subjects import split, subject


def documents(file: Path) -> list[str]:
    return [json.loads(line)["text"] for line in file.read_text().splitlines()]


def test_a_text_is_parted_by_document(tmp_path: Path) -> None:
    source = tmp_path / "source.txt"
    source.write_text("<|endoftext|>".join(f"Document {number}." for number in range(10)))
    calibration, held_out = split(source, tmp_path / "texts")
    assert documents(tmp_path / "texts" / held_out) == ["Document 3.", "Document 7."]
    left = documents(tmp_path / "texts" / calibration)
    assert left == [f"Document {number}." for number in (0, 1, 2, 4, 5, 6, 8, 9)]


def test_windows_of_the_shipped_model() -> None:
    """Each begins with the tokenizer's first token; those of calibration are the engine's."""
    shipped = subject("model")
    held_out = texts.held_out(shipped)
    [windows] = held_out.windows.values()
    assert windows.shape == (texts.WINDOWS, 256)
    assert (windows[:, 0] == 0).all()
    assert held_out.given == 1
    assert held_out.prompts.shape == (texts.WINDOWS, texts.PROMPT)
    assert len({tuple(window) for window in windows.tolist()}) == texts.WINDOWS
    calibration = texts.calibration(shipped, shipped.spec("slimgpt", 0.2, 8, seed=3))
    assert calibration.shape == (8, 256)
    seen = {tuple(run) for run in calibration.unfold(1, 32, 1).flatten(0, 1).tolist()}
    assert not seen & {tuple(run) for run in windows.unfold(1, 32, 1).flatten(0, 1).tolist()}
