"""The tokenizer, learnt small and read back by transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer, LlamaConfig

from examples.train.vocabulary import learn_vocabulary, save_tokenizer

TEXTS = ["Return the number of items in the queue.", "The queue is empty, the items are gone."]


def test_decode_inverts_encode_for_any_text() -> None:
    tokenizer = learn_vocabulary(TEXTS, 300)
    for text in [*TEXTS, "  two spaces\nand a line", "naïve → ∑ 😀", "<not a token>"]:
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_learning_is_deterministic() -> None:
    assert learn_vocabulary(TEXTS, 300).to_str() == learn_vocabulary(TEXTS, 300).to_str()


@pytest.mark.parametrize("text", TEXTS)
def test_transformers_reads_what_was_learnt(tmp_path: Path, text: str) -> None:
    tokenizer = learn_vocabulary(TEXTS, 300)
    save_tokenizer(tokenizer, tmp_path, max_length=64)
    LlamaConfig().save_pretrained(tmp_path)  # the model type must not choose another tokenizer
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded(text)["input_ids"] == tokenizer.encode(text).ids
    assert loaded(text)["input_ids"][0] == loaded.bos_token_id == tokenizer.token_to_id("<s>")
    assert loaded.eos_token_id == tokenizer.token_to_id("</s>")
