"""Windows of evaluation text, against transformers' own loss on a real model."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from slimgpt.errors import CalibrationError
from slimgpt.texts.tokenization.tokenizer import Tokenizer
from slimgpt.texts.tokenization.windows import Beginning, protocol, windows
from tests.slimgpt.tiny import Tiny, put_around


@pytest.fixture(scope="module")
def stories(shared: Path) -> Tokenizer:
    """The tokenizer of a real model."""
    return Tokenizer.load(shared / "models/stories260K")


@pytest.fixture(scope="module")
def text(shared: Path) -> str:
    """Some real stories."""
    content = (shared / "data/tinystories/stories-1MiB.txt").read_text("utf-8")
    return content[:20_000].replace("<|endoftext|>", "")


def test_windows_are_the_ids_in_a_row_without_the_tail(stories: Tokenizer, text: str) -> None:
    ids = stories.encode(text)
    found = windows(text, stories, 128, bos="none")
    assert found.dtype == torch.int64
    assert found.shape == (len(ids) // 128, 128)
    assert found.flatten().tolist() == ids[: len(ids) // 128 * 128]
    assert found[0, 0] == 1
    assert int((found == 1).sum()) == 1  # one start, not one for each window


def test_each_window_begins_with_the_tokenizers_first_token_and_no_text_is_lost(
    stories: Tokenizer, text: str
) -> None:
    ids = stories.encode(text)[1:]
    found = windows(text, stories, 128)
    assert found.shape == (len(ids) // 127, 128)
    assert set(found[:, 0].tolist()) == {1}
    assert found[:, 1:].flatten().tolist() == ids[: len(ids) // 127 * 127]


def test_what_a_tokenizer_puts_before_a_text(stories: Tokenizer, tmp_path: Path) -> None:
    assert (stories.first_tokens, stories.begins_with) == ((1,), "<s>")
    silent = Tokenizer.load(Tiny(tokenizer=True).save(tmp_path / "silent"))
    assert (silent.first_tokens, silent.begins_with) == ((), "")
    assert torch.equal(
        windows("Once " * 99, silent, 32), windows("Once " * 99, silent, 32, bos="none")
    )
    for name, template, expected in (
        ("two", "<pad> <s> $A", (0, 1)),
        ("both", "<s> $A </s>", (1,)),
        ("end", "$A </s>", ()),
    ):
        folder = Tiny(tokenizer=True).save(tmp_path / name)
        put_around(folder, template)
        tokenizer = Tokenizer.load(folder)
        assert tokenizer.first_tokens == expected
        found = windows("Once upon a time " * 20, tokenizer, 32)
        assert {tuple(row) for row in found[:, : len(expected)].tolist()} == {expected}


def test_tokens_beyond_the_limit_are_not_used(stories: Tokenizer, text: str) -> None:
    assert windows(text, stories, 128, max_tokens=300).shape == (2, 128)
    assert torch.equal(windows(text, stories, 128, 300), windows(text, stories, 128)[:2])


def test_a_window_that_just_fits(stories: Tokenizer, text: str) -> None:
    ids = stories.encode(text[:400])  # the first token included
    assert windows(text[:400], stories, len(ids)).shape == (1, len(ids))


@pytest.mark.parametrize(
    ("content", "length", "max_tokens", "message"),
    [
        ("Once", 128, None, r"has \d tokens, fewer than one window of 128"),
        ("", 128, None, "fewer than one window of 128"),
        ("Once upon a time " * 99, 128, 100, "has 100 tokens, fewer than one window of 128"),
        ("Once upon a time " * 999, 513, None, "longer than the model's 512 positions"),
        ("Once upon a time", 1, None, "has no token to predict"),
    ],
)
def test_what_cannot_be_measured_is_said_before_any_work(
    stories: Tokenizer, content: str, length: int, max_tokens: int | None, message: str
) -> None:
    with pytest.raises(CalibrationError, match=message):
        windows(content, stories, length, max_tokens)


def test_the_protocol_is_said_in_a_sentence(stories: Tokenizer) -> None:
    begin = Beginning.of(stories, "tokenizer", 128)
    said = protocol("wikitext2", 128, None, begin)
    assert said.startswith("wikitext2: the whole text, tokenised once")
    assert "do not overlap, each begins with <s>; an incomplete" in said
    said = protocol("c4", 128, 4096, Beginning.of(stories, "none", 128))
    assert "its first 4,096 tokens" in said
    assert "do not overlap, without prepended tokens; an incomplete last window" in said


def test_perplexity_is_that_of_transformers_own_loss(
    shared: Path, stories: Tokenizer, text: str
) -> None:
    from transformers import AutoTokenizer, LlamaForCausalLM

    folder = shared / "models/stories260K"
    model = LlamaForCausalLM.from_pretrained(folder).eval()
    ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt", verbose=False)
    stream, length, losses = ids["input_ids"], 128, []
    found = windows(text, stories, length, bos="none")
    with torch.no_grad():
        for start in range(0, stream.shape[1] - length + 1, length):
            part = stream[:, start : start + length]
            losses.append(float(model(part, labels=part).loss))
        logits = model(found).logits[:, :-1]
    mine = torch.nn.functional.cross_entropy(logits.flatten(0, 1), found[:, 1:].flatten())
    assert len(losses) == len(found)
    assert math.exp(mine) == pytest.approx(math.exp(sum(losses) / len(losses)), rel=1e-5)
    assert 3 < math.exp(mine) < 10  # a model of stories reads stories
