"""Batches of a recovery's sequences."""

from __future__ import annotations

from slimgpt.recovery.batches import Batches, first, in_seeded_order, micro_batches
from slimgpt.texts.label_masking import IGNORED, Tokens


def test_a_batch_is_filled_up_on_the_right() -> None:
    batches = Batches([], {}, pad=9)
    batch = batches.collate([Tokens([1, 2, 3], [IGNORED, 2, 3]), Tokens([4], [4])])
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 9, 9]]
    assert batch["labels"].tolist() == [[IGNORED, 2, 3], [4, IGNORED, IGNORED]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_micro_batches_are_the_batch_in_pieces_of_few_tokens() -> None:
    for count, length in ((64, 256), (64, 2048), (10, 512), (7, 8192)):
        pieces = [list(piece) for piece in micro_batches(range(count), length)]
        assert [place for piece in pieces for place in piece] == list(range(count))
        assert all(len(piece) == 1 or len(piece) * length <= 4096 for piece in pieces)


def test_every_pass_takes_every_sequence_once_in_an_order_of_its_own() -> None:
    batches = Batches([Tokens([n], [n]) for n in range(30)], {}, seed=3)
    drawn = [place for step in range(12) for place in batches.batch(step, 8)]
    passes = [drawn[start : start + 30] for start in (0, 30, 60)]
    assert all(sorted(one) == list(range(30)) for one in passes)
    assert passes[0] == list(range(30))
    assert passes[1] != passes[2] != passes[0]
    assert drawn[40:48] == batches.batch(5, 8)  # whatever came before


def test_the_order_is_seeded_and_the_first_are_as_many_as_fit() -> None:
    sequences = [Tokens([n] * 10, [n] * 10) for n in range(20)]
    one, other = (in_seeded_order(sequences, seed) for seed in (0, 1))
    assert one != other
    assert sorted(s.input_ids[0] for s in one) == list(range(20))
    assert len(first(sequences, 45)) == 4
    assert len(first(sequences, 3)) == 1
