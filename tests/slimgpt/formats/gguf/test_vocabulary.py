"""Tokenizers in a GGUF file: llama.cpp cuts text and writes conversations as transformers does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.errors import UnsupportedModelError
from slimgpt.formats.gguf import writer
from slimgpt.formats.gguf.vocabulary import read
from tests.slimgpt.tiny import Tiny

ROWS = 640
# As tokenizer.json of Llama 3, Qwen2 and Mistral Nemo have them.
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
SIGNS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {
    "llama-bpe": rf"{WORDS}\p{{N}}{{1,3}}{SIGNS}",
    "dbrx": rf"{WORDS}\p{{N}}{{1,3}}{SIGNS}",  # Llama 3's where merges go first
    "qwen2": rf"{WORDS}\p{{N}}{SIGNS}",
    "tekken": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
WHOLE_FIRST = ("llama-bpe", "tekken")  # `ignore_merges` of these files
TEXTS = (
    "We'LL see, they're HERE and I'd say it's 1234567 or 3.14159, isn't it?",
    "def helloWorld(HTTPServer):\n\n    return  x[12]/2  // done\r\n\r\n\t\tend   \n",
    "Größe, naïve café — 你好，世界！ привет мир שלום مرحبا \U0001f600\U0001f44d\U0001f3fd ½ ² Ⅻ",
    "  leading and trailing   ",
    "a/b/c ///\n/usr/bin/env -- $HOME_DIR=... ('s 'S 'Ll",
)
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] | trim }}"
    "{{ eos_token }}\n{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
)
TALK = [{"role": "user", "content": "Who are you? "}, {"role": "assistant", "content": "It's me."}]


def tokenizer(name: str, whole_first: bool | None = None, **options: Any) -> Any:
    """A byte-level BPE whose merges know no borders: the pattern alone keeps words apart."""
    first = name in WHOLE_FIRST if whole_first is None else whole_first
    inner = Tokenizer(models.BPE(ignore_merges=first))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=ROWS - 8,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    inner.train_from_iterator([text * 3 for text in TEXTS], trainer)
    split = pre_tokenizers.Split(Regex(PATTERNS[name]), "isolated")
    inner.pre_tokenizer = pre_tokenizers.Sequence([split, inner.pre_tokenizer])
    inner.decoder = decoders.ByteLevel()
    for key, value in options.items():
        setattr(inner, key, value)
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")


def without_a_merge(made: Any) -> Any:
    """The same, but no merges make one of its tokens; only who looks it up whole finds it."""
    told = json.loads(made.backend_tokenizer.to_str())
    merges = told["model"]["merges"]
    told["model"]["merges"] = [pair for pair in merges if "".join(pair) != "".join(merges[-1])]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(told)), bos_token="<s>", eos_token="</s>"
    )


def model(folder: Path, made: Any) -> Checkpoint:
    """A tiny model with a tokenizer."""
    Tiny("llama", vocabulary=ROWS).save(folder)
    made.save_pretrained(folder)
    return Checkpoint.open(folder)


@pytest.mark.parametrize("name", PATTERNS)
def test_text_is_cut_alike(name: str, tmp_path: Path) -> None:
    from slimgpt.verification.processes.llama_cpp_logprobs import Loaded

    checkpoint = model(tmp_path / "model", without_a_merge(tokenizer(name)))
    assert writer.read_vocabulary(checkpoint).pre == name
    writer.write(checkpoint, tmp_path / "model.gguf", "f32")
    loaded, ours = (
        Loaded(tmp_path / "model.gguf", 64, 1),
        AutoTokenizer.from_pretrained(tmp_path / "model"),
    )
    assert [loaded.cut(text) for text in TEXTS] == [ours(text)["input_ids"] for text in TEXTS]


def test_a_conversation_is_written_alike(tmp_path: Path) -> None:
    from slimgpt.verification.processes.llama_cpp_logprobs import Loaded

    made = tokenizer("qwen2")
    made.chat_template = TEMPLATE
    writer.write(model(tmp_path / "model", made), tmp_path / "model.gguf", "f32")
    ours = AutoTokenizer.from_pretrained(tmp_path / "model")
    expected = ours.apply_chat_template(TALK[:1], tokenize=False, add_generation_prompt=True)
    loaded = Loaded(tmp_path / "model.gguf", 64, 1)
    assert loaded.ask("apply-template", messages=TALK[:1])["prompt"] == expected
    assert "[user] Who are you?</s>" in expected


def test_of_several_templates_the_default_goes_into_the_file() -> None:
    made = tokenizer("qwen2")
    made.chat_template = {"tool_use": "x", "default": TEMPLATE}
    assert read(made, ROWS).chat_template == TEMPLATE
    assert read(made, ROWS).named_templates == {"tool_use": "x"}
    made.chat_template = None
    assert read(made, ROWS).chat_template is None


@pytest.mark.parametrize("name", ["qwen2", "tekken"])
def test_what_goes_first_matters_where_merges_do_not_make_a_token(name: str) -> None:
    other = name not in WHOLE_FIRST
    assert read(tokenizer(name, whole_first=other), ROWS).pre == name  # they make them all
    assert read(without_a_merge(tokenizer(name)), ROWS).pre == name
    with pytest.raises(UnsupportedModelError, match=r"llama\.cpp.s pre-tokenizer .* the opposite"):
        read(without_a_merge(tokenizer(name, whole_first=other)), ROWS)


def test_a_tokenizer_that_changes_text_is_refused() -> None:
    assert read(tokenizer("qwen2", normalizer=normalizers.NFC()), ROWS).pre == "qwen2"
    lowered = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    with pytest.raises(UnsupportedModelError, match=r"normalizer \(Lowercase\)"):
        read(tokenizer("qwen2", normalizer=lowered), ROWS)


@pytest.mark.parametrize(
    ("part", "changes", "reason"),
    [
        (1, {"add_prefix_space": True}, "a space before a text"),
        (0, {"behavior": "Removed"}, "pre-tokenizer"),
        (0, {"invert": True}, "pre-tokenizer"),
        (0, {"pattern": {"Regex": r"\p{L}+|\p{N}+"}}, "pre-tokenizer"),
    ],
)
def test_other_ways_to_cut_are_refused(part: int, changes: dict[str, Any], reason: str) -> None:
    told = json.loads(tokenizer("qwen2").backend_tokenizer.to_str())
    told["pre_tokenizer"]["pretokenizers"][part] |= changes
    made = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(told)))
    with pytest.raises(UnsupportedModelError, match=reason):
        read(made, ROWS)


@pytest.mark.parametrize("change", ["normalizer", "pre_tokenizer"])
def test_sentencepiece_that_changes_text_is_refused(change: str, shared: Path) -> None:
    made = AutoTokenizer.from_pretrained(shared / "models/stories260K")
    inner = made.backend_tokenizer
    assert read(made, ROWS).model == "llama"
    if change == "normalizer":
        inner.normalizer = normalizers.Sequence([normalizers.NFKC(), inner.normalizer])
    else:
        inner.pre_tokenizer = pre_tokenizers.Digits()
    with pytest.raises(UnsupportedModelError, match=r"NFKC|Digits"):
        read(made, ROWS)


def test_an_end_token_that_is_added_is_added_there_too(shared: Path, tmp_path: Path) -> None:
    from slimgpt.verification.processes.llama_cpp_logprobs import Loaded

    made = AutoTokenizer.from_pretrained(shared / "models/stories260K")
    ends = [("<s>", made.bos_token_id), ("</s>", made.eos_token_id)]
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=ends
    )
    assert made("Lily")["input_ids"][-1] == made.eos_token_id
    writer.write(model(tmp_path / "model", made), tmp_path / "model.gguf", "f32")
    loaded = Loaded(tmp_path / "model.gguf", 64, 1)
    assert loaded.cut("Lily") == made("Lily")["input_ids"]
