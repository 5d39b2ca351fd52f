"""A text that is small for what is trained on it: refused, or said."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from slimgpt.errors import CalibrationError
from slimgpt.events import Loss, Warned
from slimgpt.recovery.session import Session
from slimgpt.recovery.training_data import gather
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import RecoverySpec
from slimgpt.texts.tokenization.tokenizer import Tokenizer
from tests.slimgpt.recovery import toy
from tests.slimgpt.tiny import Tiny


def warnings(folder: Path, sequences: int, epochs: float) -> list[str]:
    """What a recovery of the toy warns of; its batch has a default."""
    recovery = RecoverySpec(learning_rate=0.01, epochs=epochs)
    data = toy.batches(sequences)
    device = torch.device("cpu")
    session = Session(recovery, data, toy.student, None, folder, device, time.monotonic())
    events = list(session.run())
    (steps,) = {event.steps for event in events if isinstance(event, Loss)}
    assert steps == -(-sequences // min(sequences, 64)) * epochs
    return [event.message for event in events if isinstance(event, Warned)]


def test_a_text_that_is_seen_often_is_said(tmp_path: Path) -> None:
    (tmp_path / "often").mkdir()
    assert warnings(tmp_path, 40, 1) == []
    (said,) = warnings(tmp_path / "often", 4, 10)
    assert "tokens for 72 trained parameters" in said
    assert "seen 10 times" in said


@pytest.mark.parametrize(
    ("batch", "complaint"),
    [
        (None, "has 3 training sequences, fewer than the smallest batch of 4; use more text"),
        (8, "fewer than a batch of 8; use more text, or recovery.batch_size 3"),
    ],
)
def test_a_text_that_is_less_than_a_batch_is_refused(
    batch: int | None, complaint: str, tmp_path: Path
) -> None:
    Tiny(tokenizer=True).save(tmp_path / "model")
    (tmp_path / "few.jsonl").write_text('{"text": "a few words"}\n' * 3)
    few = RecoverySpec(source="local:few.jsonl", sequence_length=32, batch_size=batch)
    with pytest.raises(CalibrationError) as refused:
        gather(few, Tokenizer.load(tmp_path / "model"), [], Roots(models=tmp_path, texts=tmp_path))
    assert complaint in str(refused.value)
