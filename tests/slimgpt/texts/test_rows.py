"""Rows of data sets as the text a model would read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slimgpt.texts.rows import text_of

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


@pytest.mark.parametrize(
    ("row", "asked", "message"),
    [
        ({"title": "T", "body": "B"}, None, "no field is known to hold text; .*: title, body"),
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
