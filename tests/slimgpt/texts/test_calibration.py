"""Documents to sequences: seeded, lazy, disjoint, and pinned."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from slimgpt.errors import CalibrationError
from slimgpt.spec.prune import Bos
from slimgpt.texts import local as local_texts
from slimgpt.texts.calibration import Calibration, digest, sample
from slimgpt.texts.documents import Documents
from slimgpt.texts.tokenization.tokenizer import Tokenizer


class Numbers:
    """A tokenizer of numbers, so that every token says which document and place it is from.

    Args:
        first: what it puts before a text; numbers below zero, which no text has.
        last: what it puts after it.
    """

    def __init__(self, first: tuple[int, ...] = (), last: tuple[int, ...] = ()) -> None:
        self.read: list[str] = []
        self.first_tokens = first
        self.last = last
        self.begins_with = "".join(f"<{token}>" for token in first)

    def encode(self, text: str) -> list[int]:
        self.read.append(text)
        return [*self.first_tokens, *(int(word) for word in text.split()), *self.last]

    def check_length(self, length: int) -> None:
        """Any length will do."""


def numbered(*lengths: int) -> Documents[str]:
    """Documents whose tokens are 1000·document + place."""
    texts = [" ".join(str(1000 * d + i) for i in range(n)) for d, n in enumerate(lengths)]
    return Documents.of(texts, "numbers")


def cut(documents: Documents[str], samples: int, length: int, **more: Any) -> Calibration:
    """Sequences of numbered documents; seed 0 unless told otherwise."""
    more = {"seed": 0, **more}
    return sample(documents, Numbers(), samples=samples, sequence_length=length, **more)


def is_in(window: Tensor, joined: list[int]) -> bool:
    """Whether the window stands in the joined text as it is."""
    wanted = window.tolist()
    return any(joined[i : i + len(wanted)] == wanted for i in range(len(joined)))


def tokens(*parts: Tensor) -> list[int]:
    """All tokens of several tensors."""
    return [int(token) for part in parts for token in part.flatten()]


def test_every_sequence_has_documents_of_its_own() -> None:
    found = cut(numbered(*[50] * 100), samples=20, length=30)
    assert found.input_ids.shape == (20, 30)
    assert found.input_ids.dtype == torch.int64
    owners = found.input_ids // 1000
    assert all(len(set(row.tolist())) == 1 for row in owners)
    assert len(set(owners[:, 0].tolist())) == 20
    assert (found.documents_used, found.tokens_found) == (20, 1000)
    starts = found.input_ids[:, 0] % 1000
    assert len(set(starts.tolist())) > 5
    assert int(starts.max()) <= 20


def test_short_documents_are_joined_in_their_order() -> None:
    documents = numbered(*[7] * 40)
    encoder = Numbers()
    found = sample(documents, encoder, samples=5, sequence_length=20, seed=3)
    joined = [int(word) for text in encoder.read for word in text.split()]
    assert all(is_in(row, joined) for row in found.input_ids)
    assert len(set(tokens(found.input_ids))) == 100


def test_only_as_many_documents_are_read_as_are_needed() -> None:
    asked: list[int] = []

    def read(index: int) -> str:
        asked.append(index)
        return " ".join(["5"] * 50)

    found = sample(
        Documents(10**9, read, "a billion"), Numbers(), samples=4, sequence_length=80, seed=0
    )
    assert len(asked) == 8 == found.documents_used
    assert max(asked) > 10**7


def test_one_long_document_serves_many_sequences_without_overlap() -> None:
    found = cut(numbered(990), samples=9, length=100, held_out=5)
    assert found.input_ids.shape == (9, 100)
    assert found.held_out.shape == (0, 100)
    assert len(set(tokens(found.input_ids))) == 900
    assert (found.documents_used, found.tokens_found) == (1, 990)
    spread = cut(numbered(990), samples=3, length=100, held_out=50)
    assert spread.held_out.shape == (6, 100)
    assert len(set(tokens(spread.input_ids, spread.held_out))) == 900
    assert spread.input_ids[:, 0].tolist() != [0, 100, 200]  # chosen, not just the beginning


def test_text_too_short_for_offsets_is_used_to_the_last_token() -> None:
    found = cut(numbered(30, 30, 40), samples=4, length=25)
    assert sorted(tokens(found.input_ids)) == sorted(
        [1000 * d + i for d, n in enumerate((30, 30, 40)) for i in range(n)]
    )


def test_too_little_text_says_how_much_there_is_and_how_much_was_asked() -> None:
    message = "numbers: found 99 tokens in 2 documents, but 4 samples of 25 tokens need 100"
    with pytest.raises(CalibrationError, match=message) as e:
        cut(numbered(50, 49), samples=4, length=25)
    assert "at most 3 samples" in e.value.hint
    with pytest.raises(CalibrationError, match="found 9 tokens") as e:
        cut(numbered(9), samples=1, length=10)
    assert e.value.hint == "provide more text"
    with pytest.raises(CalibrationError, match="found 0 tokens in 0 documents"):
        cut(Documents.of(["", " \n"], "blank"), samples=1, length=8)


def test_held_out_sequences_share_nothing_with_calibration() -> None:
    for lengths, held in (([50] * 40, 1000), ([990, 400], 1000), ([7] * 200, 1000)):
        found = cut(numbered(*lengths), samples=5, length=30, held_out=held)
        both = tokens(found.input_ids, found.held_out)
        assert len(both) == len(set(both))
        assert len(found.held_out) > 0


def test_held_out_sequences_come_first_from_documents_not_used() -> None:
    found = cut(numbered(*[50] * 40), samples=5, length=30, held_out=8)
    assert found.held_out.shape == (8, 30)
    assert not set(tokens(found.input_ids // 1000)) & set(tokens(found.held_out // 1000))


def test_asking_for_held_out_sequences_changes_nothing_else() -> None:
    for documents in (numbered(*[50] * 40), numbered(990)):
        plain = cut(documents, samples=5, length=30)
        more = cut(documents, samples=5, length=30, held_out=9)
        assert torch.equal(plain.input_ids, more.input_ids)
        assert plain.sha256 == more.sha256
        assert (plain.documents_used, plain.tokens_found) == (
            more.documents_used,
            more.tokens_found,
        )


def test_fewer_samples_are_the_first_of_more() -> None:
    documents = numbered(*[50] * 40)
    few, many = cut(documents, samples=5, length=30), cut(documents, samples=20, length=30)
    assert torch.equal(few.input_ids, many.input_ids[:5])


def test_the_seed_decides() -> None:
    documents = numbered(*[50] * 40)
    first, again, other = (cut(documents, samples=5, length=30, seed=s) for s in (1, 1, 2))
    assert first.sha256 == again.sha256 != other.sha256


def test_the_hash_is_of_little_endian_int64() -> None:
    ids = torch.tensor([[1, 2], [3, 400]])
    expected = hashlib.sha256(b"".join(n.to_bytes(8, "little") for n in (1, 2, 3, 400)))
    assert digest(ids) == expected.hexdigest()


FIRST = ((-1,), (-1, -2))
"""One token before a text, as most have it, and two, as GLM has them."""


@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("last", [(), (-9,)])
@pytest.mark.parametrize("lengths", [[50] * 100, [7] * 400, [990, 400], [1, 2, 3] * 300], ids=str)
def test_every_sequence_begins_with_what_the_tokenizer_puts_before_a_text(
    first: tuple[int, ...], last: tuple[int, ...], lengths: list[int]
) -> None:
    encoder = Numbers(first, last)
    found = sample(numbered(*lengths), encoder, samples=8, sequence_length=30, seed=0, held_out=9)
    assert found.begins_with == encoder.begins_with
    assert found.input_ids.shape == (8, 30)
    assert len(found.held_out) > 0
    bodies = []
    for window in [*found.input_ids.tolist(), *found.held_out.tolist()]:
        count = len(first)
        assert tuple(window[:count]) == first
        assert tuple(window[count : 2 * count]) != first  # not twice
        bodies += [token for token in window if token >= 0]
    assert len(bodies) == len(set(bodies))


def test_without_it_sequences_are_cut_as_papers_cut_them() -> None:
    documents, encoder = numbered(*[50] * 40), Numbers((-1,))
    found = sample(documents, encoder, samples=20, sequence_length=30, seed=0, bos="none")
    assert found.begins_with == ""
    assert 0 < int((found.input_ids[:, 0] == -1).sum()) < 5  # where the offset happens to be 0
    plain = sample(documents, Numbers(), samples=20, sequence_length=30, seed=0, bos="none")
    both = sample(documents, Numbers(), samples=20, sequence_length=30, seed=0)
    assert torch.equal(plain.input_ids, both.input_ids)  # a tokenizer that puts nothing there


@pytest.mark.parametrize("first", FIRST)
def test_a_single_long_document_is_used_to_the_last_token(first: tuple[int, ...]) -> None:
    body = 30 - len(first)
    found = sample(
        numbered(9 * body), Numbers(first), samples=9, sequence_length=30, seed=0, held_out=1
    )
    assert sorted(t for t in tokens(found.input_ids) if t >= 0) == [*range(9 * body)]
    with pytest.raises(CalibrationError, match="need 300") as e:
        sample(numbered(9 * body), Numbers(first), samples=10, sequence_length=30, seed=0)
    assert "at most 9 samples" in e.value.hint


GOLDEN = {
    "tokenizer": "6797a58d3e8bb85e888cc2ec831186910dfcb1fb90fb9c05a90ee70b95050882",
    "none": "ce7df53ddb8b96076fb43b4a90915ab0081f704ea5bafac2239667c0c0e8d73d",
}


@pytest.fixture(scope="module")
def stories(shared: Path) -> Tokenizer:
    """The tokenizer of a real model."""
    return Tokenizer.load(shared / "models/stories260K")


@pytest.mark.parametrize("bos", ["tokenizer", "none"])
def test_golden_ids_of_real_text(shared: Path, stories: Tokenizer, bos: Bos) -> None:
    """Another hash means that old jobs cannot be repeated: that is a new rule, not a new golden."""
    documents = local_texts.read(shared / "data/c4/c4-en-1300.jsonl", "c4", None)
    found = sample(documents, stories, samples=16, sequence_length=256, seed=0, held_out=4, bos=bos)
    assert found.sha256 == GOLDEN[bos]
    assert found.held_out.shape == (4, 256)
    # Each document starts with the tokenizer's own <s>, which stands nowhere else but before cuts.
    assert int((found.input_ids == 1).sum()) > 0
    assert int((found.input_ids == 2).sum()) == 0


def test_sequences_longer_than_the_model_are_refused(stories: Tokenizer) -> None:
    message = "sequences of 513 tokens are longer than the model's 512 positions"
    with pytest.raises(CalibrationError, match=message):
        sample(numbered(2000), stories, samples=1, sequence_length=513, seed=0)
