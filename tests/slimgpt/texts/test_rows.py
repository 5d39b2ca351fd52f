"""Rows of data sets as the text a model would read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slimgpt.texts.row_types import Conversation, Exchange, Prose, Unwanted
from slimgpt.texts.rows import lesson_of, text_of

ROW = {"instruction": "Add.", "input": "1, 2", "output": "3"}


def test_instruction_rows_become_alpacas_prompt_word_for_word() -> None:
    assert text_of(ROW, None) == (
        "Below is an instruction that describes a task, paired with an input that provides further "
        "context. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nAdd.\n\n### Input:\n1, 2\n\n### Response:\n3"
    )
    expected = (
        "Below is an instruction that describes a task. Write a response that appropriately "
        "completes the request.\n\n### Instruction:\nAdd.\n\n### Response:\n3"
    )
    for empty in ({"input": ""}, {"input": None}):
        assert text_of({**ROW, **empty}, None) == expected
    assert text_of({"instruction": "Add.", "output": "3"}, None) == expected


def test_braces_in_a_row_are_only_text() -> None:
    assert "{output} {0}" in text_of({"instruction": "{output} {0}", "output": "x"}, None)


def test_every_row_of_alpaca_has_a_text(shared: Path) -> None:
    rows = json.loads((shared / "data/alpaca/alpaca_data_1k.json").read_text())
    for row in rows:
        text = text_of(row, None)
        assert text.endswith(f"### Response:\n{row['output']}")
        assert ("### Input:" in text) == bool(row["input"])


def test_the_text_field_is_found_or_named() -> None:
    row = {"content": "c", "text": "t", "title": "T", **ROW}
    assert text_of(row, None) == "t"
    assert text_of({"content": "c", "title": "T"}, None) == "c"
    assert text_of(row, "title") == "T"
    assert text_of(row, "instruction") == "Add."
    assert text_of("a bare string", None) == "a bare string"
    assert text_of({"text": None}, None) == ""


def test_chats_become_plain_turns() -> None:
    parts = [{"type": "image"}, {"type": "text", "text": "Seen"}, {"type": "text", "text": "it?"}]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None},
    ]
    expected = "system: Be brief.\n\nuser: Seen\nit?\n\nassistant: "
    assert text_of({"messages": messages}, None) == expected
    assert text_of({"talk": messages}, "talk") == expected


ASKED = {"role": "user", "content": "Why?"}
TOLD = {"role": "assistant", "content": "So."}
TALK = Conversation((ASKED, TOLD))
SYSTEM = {"role": "system", "content": "Be brief."}
SHAREGPT = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]


@pytest.mark.parametrize(
    ("row", "lesson", "text"),
    [
        # ShareGPT, Vicuna, OpenHermes, LLaMA-Factory
        ({"id": 7, "conversations": SHAREGPT}, TALK, "user: Why?\n\nassistant: So."),
        ({"conversations": [ASKED, TOLD]}, TALK, "user: Why?\n\nassistant: So."),
        ({"conversation": SHAREGPT}, TALK, "user: Why?\n\nassistant: So."),
        (
            {"conversations": SHAREGPT, "system": "Be brief."},
            Conversation((SYSTEM, ASKED, TOLD)),
            "system: Be brief.\n\nuser: Why?\n\nassistant: So.",
        ),
        ({"conversations": json.dumps(SHAREGPT)}, TALK, "user: Why?\n\nassistant: So."),
        # TRL: prompt and completion, as words and as messages
        ({"prompt": "Why?", "completion": " So."}, Exchange("Why?", " So."), "Why? So."),
        ({"prompt": "Why? ", "completion": "So."}, Exchange("Why? ", "So."), "Why? So."),
        ({"prompt": "Why?", "completion": "So."}, Exchange("Why?\n", "So."), "Why?\nSo."),
        ({"prompt": [ASKED], "completion": [TOLD]}, TALK, "user: Why?\n\nassistant: So."),
        ({"prompt": "Why?", "completion": "Eh.", "label": True}, Exchange("Why?\n", "Eh."),
         "Why?\nEh."),
        ({"prompt": "Why?", "completion": "Eh.", "label": False}, Unwanted("Why?\nEh."),
         "Why?\nEh."),
        # preferences: the chosen side
        (
            {"prompt": "Why?", "chosen": " So.", "rejected": " No."},
            Exchange("Why?", " So."),
            "Why? So.",
        ),
        (
            {"prompt": "Why?", "chosen": [ASKED, TOLD], "rejected": [ASKED]},
            TALK,
            "user: Why?\n\nassistant: So.",
        ),
        ({"prompt": [ASKED], "chosen": [TOLD]}, TALK, "user: Why?\n\nassistant: So."),
        ({"prompt": "Why?", "chosen": [TOLD]}, TALK, "user: Why?\n\nassistant: So."),
        ({"chosen": [ASKED, TOLD], "rejected": []}, TALK, "user: Why?\n\nassistant: So."),
        (
            {"chosen": "\n\nHuman: Why?\n\nAssistant: So.", "rejected": ""},
            TALK,
            "user: Why?\n\nassistant: So.",
        ),
        ({"chosen": "So.", "rejected": "No."}, Prose("So."), "So."),
        (
            {"system": "Be brief.", "question": "Why?", "chosen": "So.", "rejected": "No."},
            Exchange("Be brief.\n\nWhy?\n", "So."),
            "Be brief.\n\nWhy?\nSo.",
        ),
        # OpenOrca, GSM8K, MetaMath
        (
            {"system_prompt": "", "question": "Why?", "response": "So."},
            Exchange("Why?\n", "So."),
            "Why?\nSo.",
        ),
        ({"question": "Why?", "answer": "So."}, Exchange("Why?\n", "So."), "Why?\nSo."),
        ({"query": "Why?", "response": "So."}, Exchange("Why?\n", "So."), "Why?\nSo."),
    ],
)  # fmt: skip
def test_the_forms_of_public_data_sets(row: object, lesson: object, text: str) -> None:
    assert lesson_of(row, None) == lesson
    assert text_of(row, None) == text


def test_dollys_rows_are_alpacas_under_other_names() -> None:
    dolly = {"instruction": "Add.", "context": "1, 2", "response": "3", "category": "sums"}
    assert text_of(dolly, None) == text_of(ROW, None)
    assert lesson_of(dolly, None) == lesson_of(ROW, None)


def test_answers_go_before_text_where_answers_are_wanted() -> None:
    row = {"text": "all of it", "conversations": SHAREGPT}
    assert text_of(row, None) == "all of it"
    assert lesson_of(row, None) == TALK
    assert lesson_of({**row, "conversations": SHAREGPT}, "text") == Prose("all of it")
    assert lesson_of({"talk": SHAREGPT}, "talk") == TALK


@pytest.mark.parametrize(
    ("row", "asked", "message"),
    [
        ({"title": "T", "body": "B"}, None, "no field is known to contain text; .*: title, body"),
        ({"title": "T", "body": "B"}, "text", "no field 'text'; the fields are: title, body"),
        ({}, None, "the fields are: none"),
        ({"text": 3}, None, "field 'text' is of type int, not a string"),
        ({"instruction": "a", "output": [1]}, None, "field 'output' is of type list"),
        ({"messages": ["hello"]}, None, "not of messages with `content`"),
        ({"messages": [{"content": 1}]}, None, "`content` is of type int"),
        (7, None, "a int, not an object"),
        (["a"], None, "a list, not an object"),
    ],
)
def test_rows_without_text_say_why(row: object, asked: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        text_of(row, asked)
