"""Texts to calibrate on: made once, of the documents that they say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.quality import calibration_texts
from benchmarks.quality.subjects import Subject, subject


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    """The bundled model with three texts of some documents each."""
    for name, count in (("INSTRUCTIONS", 9), ("TECHNICAL", 3)):
        rows = [{"text": f"{name.lower()} {number}"} for number in range(count)]
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        monkeypatch.setattr(calibration_texts, name, file)
    (tmp_path / "own.jsonl").write_text('{"text": "own 0"}\n{"text": "own 1"}\n', encoding="utf-8")
    return replace(subject("model"), texts=tmp_path, calibration="own.jsonl")


def texts_of(name: str, subject: Subject) -> list[str]:
    file = calibration_texts.make(name, subject, torch.device("cpu"))
    lines = (subject.texts / file).read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def test_a_mixture_takes_documents_in_turn(small: Subject) -> None:
    first, *rest = texts_of("mixed", small)
    assert first == "own 0"
    assert rest[0] == "\n\n".join(f"instructions {number}" for number in range(4))
    assert rest[1:3] == ["technical 0", "own 1"]
    assert rest[-2:] == ["instructions 8", "technical 2"]


def test_a_text_is_made_once(small: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    made = texts_of("technical", small)
    monkeypatch.setattr(calibration_texts, "TECHNICAL", small.texts / "gone.jsonl")
    assert texts_of("technical", small) == made


def test_the_model_writes_the_same_again(small: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in (("DOCUMENTS", 3), ("ROWS", 3), ("WINDOW", 8)):
        monkeypatch.setattr(calibration_texts, name, number)
    written = texts_of("written", small)
    assert len(set(written)) == 3
    (small.texts / "written-for-model.jsonl").unlink()
    assert texts_of("written", small) == written
