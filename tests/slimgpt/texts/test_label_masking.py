"""Which tokens are learned, held against the text that they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimgpt.texts.label_masking import IGNORED, LeftOut, Tokens, tokens_of
from slimgpt.texts.row_types import Conversation, Exchange, Prose
from slimgpt.texts.rows import lesson_of, text_of
from slimgpt.texts.tokenization.tokenizer import Tokenizer

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "model"
ROW = {"instruction": "Name a colour.", "input": "", "output": "Blue, like the sky."}
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "And now?"},
    {"role": "assistant", "content": "No."},
]
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(EXAMPLE)


@pytest.fixture
def chatty(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokenizer with a chat template."""
    loaded = Tokenizer.load(EXAMPLE)
    loaded._inner.chat_template = TEMPLATE
    return loaded


def learned(tokens: Tokens, tokenizer: Tokenizer) -> str:
    return tokenizer.decode([label for label in tokens.labels if label != IGNORED])


def one(row: object, tokenizer: Tokenizer, length: int = 512) -> Tokens:
    (tokens,) = tokens_of(lesson_of(row, None), tokenizer, length)
    return tokens


def test_only_the_answer_is_learned_and_where_it_ends(tokenizer: Tokenizer) -> None:
    tokens = one(ROW, tokenizer)
    assert learned(tokens, tokenizer) == ROW["output"]
    assert tokenizer.decode(tokens.input_ids) == text_of(ROW, None)
    assert tokens.labels[-1] == tokens.input_ids[-1] == tokenizer.end
    first = next(i for i, label in enumerate(tokens.labels) if label != IGNORED)
    assert tokens.labels[first:] == tokens.input_ids[first:]


@given(prompt=WORDS, answer=WORDS.filter(str.strip))  # a blank answer is left out
def test_masks_cut_at_the_characters_of_the_answer(
    tokenizer: Tokenizer, prompt: str, answer: str
) -> None:
    """A token is learned if and only if it stands for a character of the answer."""
    (tokens,) = tokens_of(Exchange(prompt, answer), tokenizer, 4096)
    ids, offsets = tokenizer.encode_with_offsets(prompt + answer)
    expected = [token if last > max(first, len(prompt)) else IGNORED
                for token, (first, last) in zip(ids, offsets, strict=True)]  # fmt: skip
    assert tokens.input_ids == [*ids, tokenizer.end]
    assert tokens.labels == [*expected, tokenizer.end]


def test_every_answer_of_a_conversation_is_learned(tokenizer: Tokenizer, chatty: Tokenizer) -> None:
    tokens = one({"messages": CHAT}, chatty)
    assert learned(tokens, chatty) == "Yes.<|end|>\nNo.<|end|>\n"
    assert chatty.decode(tokens.input_ids) == chatty.chat(CHAT)
    plain = one({"messages": CHAT}, tokenizer)
    assert learned(plain, tokenizer).split() == ["Yes.", "No."]
    assert "user: And now?" in tokenizer.decode(plain.input_ids)


def test_a_template_that_rewrites_the_past_teaches_only_what_stands(chatty: Tokenizer) -> None:
    chatty._inner.chat_template = (
        "{% for m in messages %}{% if loop.last or m.role != 'assistant' %}[{{ m.role }}] "
        "{{ m.content }}{% else %}(said){% endif %}{% endfor %}"
        "{% if add_generation_prompt %}[assistant] {% endif %}"
    )
    assert learned(one({"messages": CHAT}, chatty), chatty).strip() == "No."


def test_prose_is_learned_as_a_whole_end_to_end(tokenizer: Tokenizer) -> None:
    text = ("All of this is learned, sentence by sentence. " * 31).strip()
    assert len(tokenizer.encode(text)) % 64 > 1
    pieces = tokens_of(Prose(text), tokenizer, 64)
    assert {piece.input_ids[0] for piece in pieces} == {*tokenizer.first_tokens}
    joined = [token for piece in pieces for token in piece.input_ids[1:]]
    assert [*tokenizer.first_tokens, *joined] == tokenizer.encode(text)
    assert all(piece.labels == [IGNORED, *piece.input_ids[1:]] for piece in pieces)
    assert {len(piece.input_ids) for piece in pieces[:-1]} == {64}


def test_a_prompt_that_fills_the_sequence_teaches_nothing(tokenizer: Tokenizer) -> None:
    lesson = lesson_of({"instruction": "word " * 500, "output": "x"}, None)
    with pytest.raises(LeftOut, match="a prompt that fills the sequence"):
        tokens_of(lesson, tokenizer, 64)
    (cut,) = tokens_of(lesson_of({**ROW, "output": "long " * 500}, None), tokenizer, 64)
    assert len(cut.input_ids) == 64


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("plain", Prose("plain")),
        ({"text": "plain"}, Prose("plain")),
        ({"instruction": "i", "output": "o", "text": "all"}, Exchange),
        ({"messages": CHAT, "text": "all"}, Conversation),
    ],
)
def test_answers_go_before_text(row: object, expected: Any) -> None:
    lesson = lesson_of(row, None)
    assert lesson == expected if isinstance(expected, Prose) else isinstance(lesson, expected)


def test_a_field_can_be_asked_for() -> None:
    row = {"instruction": "i", "output": "o", "text": "all", "turns": CHAT}
    assert lesson_of(row, "text") == Prose("all")
    assert isinstance(lesson_of(row, "turns"), Conversation)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"instruction": "i"}, "no answer: the field 'output' is missing"),
        ({"instruction": "i", "output": 7}, "'output' is of type int"),
        ({"messages": [{"role": "user", "content": "hm"}]}, "no message has the role"),
        ({"messages": ["hm"]}, "not of messages"),
        ({"prompt": "p"}, "the prompt has no answer: the field 'completion' is missing"),
        ({"chosen": 7}, "'chosen' is of type int"),
        ({"text": "\ud83d"}, "half of a character"),
        ({"prompt": "p", "completion": "\ud83d"}, "half of a character"),
        ({"label": 1}, "no field is known"),
        (7, "a int, not an object"),
    ],
)
def test_rows_that_teach_nothing_say_why(row: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        lesson_of(row, None)


@pytest.mark.parametrize("row", [{"instruction": "i", "output": " "}, {"text": "\n"}, ""])
def test_an_empty_answer_is_no_lesson(row: object, tokenizer: Tokenizer) -> None:
    with pytest.raises(LeftOut, match="an empty answer"):
        tokens_of(lesson_of(row, None), tokenizer, 64)


THINKING = (
    "{% for m in messages %}<|{{ m.role }}|>\n{% if m.role == 'assistant' %}"
    "{{ m.content.split('</think>')[-1].strip() }}{% else %}{{ m.content }}{% endif %}"
    "<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n<think>\n{% endif %}"
)
"""As DeepSeek-R1's and its kin's: the invitation opens a thought, answered turns have none."""
LAST_THOUGHT = (
    "{% for m in messages %}<|{{ m.role }}|>\n{% if m.role == 'assistant' and loop.last %}"
    "<think>\n{{ m.content.split('</think>')[0].split('<think>')[-1].strip() if '</think>' in "
    "m.content else '' }}\n</think>\n\n{% endif %}"
    "{{ m.content.split('</think>')[-1].strip() }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
"""As Qwen3's: the last answer keeps its thought, or gets an empty one; earlier ones lose theirs."""
MARKED = (
    "{% for m in messages %}<|{{ m.role }}|>\n{% if m.role == 'assistant' %}{% generation %}"
    "{{ m.content }}<|end|>{% endgeneration %}{% else %}{{ m.content }}<|end|>{% endif %}\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n<think>\n{% endif %}"
)
TRIMMED = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content | trim | upper }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


def talk(*answers: str) -> list[dict[str, str]]:
    """As many questions as answers, in turn."""
    pairs = [({"role": "user", "content": f"<b>{n}?</b>"}, {"role": "assistant", "content": said})
             for n, said in enumerate(answers)]  # fmt: skip
    return [message for pair in pairs for message in pair]


@pytest.mark.parametrize(
    ("template", "messages", "expected"),
    [
        (THINKING, talk("Yes.", "No."), "Yes.<|end|>\nNo.<|end|>\n"),
        (THINKING, talk("<b>Yes.", "<think>hm</think>No."), "<b>Yes.<|end|>\nNo.<|end|>\n"),
        (LAST_THOUGHT, talk("Yes."), "<think>\n\n</think>\n\nYes.<|end|>\n"),
        (
            LAST_THOUGHT,
            talk("<think>one</think>Yes.", "<think>two</think>No."),
            "Yes.<|end|>\n<think>\ntwo\n</think>\n\nNo.<|end|>\n",
        ),
        (MARKED, talk("Yes.", "No."), "Yes.<|end|>No.<|end|>"),
        (TRIMMED, talk(" yes ", "no"), " YES NO"),  # whose tokens begin with the space
        (TEMPLATE, talk("", "No."), "No.<|end|>\n"),
        (TEMPLATE, talk("the same", "the same"), "the same<|end|>\nthe same<|end|>\n"),
        (TEMPLATE, talk("¶ § †"), "¶ § †<|end|>\n"),
        (TEMPLATE, CHAT[2:], "Yes.<|end|>\nNo.<|end|>\n"),  # the assistant begins
    ],
)
def test_what_the_assistant_says_is_learned_whatever_the_template_does(
    chatty: Tokenizer, template: str, messages: list[dict[str, str]], expected: str
) -> None:
    chatty._inner.chat_template = template
    tokens = one({"messages": messages}, chatty)
    assert learned(tokens, chatty) == expected
    assert chatty.decode(tokens.input_ids) == chatty.chat(messages)


def test_why_a_conversation_teaches_nothing(chatty: Tokenizer) -> None:
    lesson = Conversation(tuple(CHAT))
    with pytest.raises(LeftOut, match="a prompt that fills the sequence"):
        tokens_of(lesson, chatty, 12)
    chatty._inner.chat_template = (
        "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    )
    with pytest.raises(LeftOut, match="an answer that the chat template leaves out"):
        tokens_of(lesson, chatty, 64)
    chatty._inner.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(LeftOut, match="the chat template refuses") as refused:
        tokens_of(lesson, chatty, 64)
    assert "roles must alternate" in refused.value.detail
    chatty._inner.chat_template = TEMPLATE + "{% generation %}{% endgeneration %}"
    with pytest.raises(LeftOut, match="an answer that the chat template leaves out"):
        tokens_of(lesson, chatty, 64)
