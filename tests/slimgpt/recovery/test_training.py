"""The distance from a teacher, and what the recipe means, against plain torch."""

from __future__ import annotations

import pytest
import torch

from slimgpt.recovery.training import Course, divergence, micro_batch, steps_of
from slimgpt.spec.prune import RecoverySpec
from slimgpt.texts.label_masking import IGNORED, Tokens


def test_divergence_is_kullback_and_leiblers_over_the_tokens_that_predict() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 5, 7, generator=generator) for _ in range(2))
    labels = torch.tensor([[3, IGNORED, 1, 2, IGNORED], [IGNORED, 4, 4, IGNORED, 0]])
    for temperature in (1.0, 2.5):
        expected = 0.0
        for row, column in ((0, 2), (0, 3), (1, 1), (1, 2), (1, 4)):  # labelled, not the first
            p, q = (
                torch.softmax(logits[row, column - 1].double() / temperature, -1)
                for logits in (teacher, student)
            )
            expected += float((p * (p / q).log()).sum()) * temperature**2
        found = float(divergence(student, teacher, labels, temperature))
        assert found == pytest.approx(expected, rel=1e-5)
    assert float(divergence(teacher, teacher, labels, 1.0)) == pytest.approx(0.0, abs=1e-6)


def test_a_batch_is_filled_up_on_the_right() -> None:
    course = Course([], {}, pad=9)
    batch = course.collate([Tokens([1, 2, 3], [IGNORED, 2, 3]), Tokens([4], [4])])
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 9, 9]]
    assert batch["labels"].tolist() == [[IGNORED, 2, 3], [4, IGNORED, IGNORED]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize(
    ("batch", "length", "expected"), [(64, 256, 16), (64, 2048, 2), (10, 512, 5), (7, 8192, 1)]
)
def test_the_global_batch_is_a_whole_number_of_micro_batches(
    batch: int, length: int, expected: int
) -> None:
    spec = RecoverySpec(batch_size=batch, sequence_length=length)
    assert micro_batch(spec) == expected
    assert batch % expected == 0


def test_steps_are_counted_as_the_trainer_counts_them() -> None:
    course = Course([Tokens([1, 2], [1, 2])] * 130, {})
    assert steps_of(RecoverySpec(batch_size=64), course) == 3
    assert steps_of(RecoverySpec(batch_size=64, epochs=2.5), course) == 8
