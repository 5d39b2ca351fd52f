"""Extracts the text of a data set row (text field, messages, Alpaca prompt).

Instruction rows become the prompt of Stanford Alpaca with its answer, word for word, so that a
local copy of Alpaca gives the same text as the hub's `text` field.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

TEXT_FIELDS = ("text", "content")
CHAT_FIELD = "messages"
INSTRUCTION_FIELDS = ("instruction", "output")

WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n{output}"
)
WITHOUT_INPUT = (
    "Below is an instruction that describes a task. Write a response that appropriately "
    "completes the request.\n\n### Instruction:\n{instruction}\n\n### Response:\n{output}"
)


def loaded(content: bytes) -> Any:
    """JSON of a stranger.

    Raises:
        json.JSONDecodeError: it is not JSON.
        ValueError: it is JSON that nobody would write; the message says why.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # Python reads no integer of more than a few thousand digits
        raise ValueError("a number in the JSON has too many digits") from error


def field_of(fields: Collection[str], asked: str | None) -> str:
    """Which field of a row gives its text; `instruction` stands for the instruction row.

    Raises:
        ValueError: the field asked for is not there, or none is that could be text.
    """
    there = ", ".join(fields) or "none"
    if asked is not None:
        if asked not in fields:
            raise ValueError(f"no field {asked!r}; the fields are: {there}")
        return asked
    for name in (*TEXT_FIELDS, CHAT_FIELD):
        if name in fields:
            return name
    if all(name in fields for name in INSTRUCTION_FIELDS):
        return INSTRUCTION_FIELDS[0]
    raise ValueError(f"no field is known to hold text; the fields are: {there}")


def text_of(row: object, asked: str | None) -> str:
    """The text of a row: a string, or a mapping with a text, chat or instruction field.

    Args:
        row: one row, as JSON or `datasets` gives it.
        asked: the field that holds the text; None finds it.

    Raises:
        ValueError: the row holds no text; the message says why, without saying which row.
    """
    text = _text(row, asked)
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON can say "\\ud83d" without its other half
        raise ValueError("the text holds half of a character (a lone surrogate)") from error
    return text


def _text(row: object, asked: str | None) -> str:
    if isinstance(row, str):
        return row
    if not isinstance(row, Mapping):
        raise ValueError(f"a {type(row).__name__}, not an object with a text field")
    name = field_of(row.keys(), asked)
    if asked is None and name == INSTRUCTION_FIELDS[0]:
        return _instruction(row)
    value = row[name]
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return _turns(value, name)
    raise ValueError(f"field {name!r} is of type {type(value).__name__}, not a string")


def _instruction(row: Mapping[str, Any]) -> str:
    parts = {name: row.get(name) or "" for name in ("instruction", "input", "output")}
    for name, value in parts.items():
        if not isinstance(value, str):
            raise ValueError(f"field {name!r} is of type {type(value).__name__}, not a string")
    return (WITH_INPUT if parts["input"] else WITHOUT_INPUT).format(**parts)


def _turns(messages: list[Any], field: str) -> str:
    """A conversation as plain turns: no chat template, which would tie it to one model."""
    turns = []
    for message in messages:
        if not isinstance(message, Mapping) or "content" not in message:
            raise ValueError(f"field {field!r} is a list, but not of messages with `content`")
        turns.append(f"{message.get('role', 'user')}: {content_of(message['content'], field)}")
    return "\n\n".join(turns)


def content_of(content: object, field: str) -> str:
    """The text of a message: its `content`, of whose parts only text is kept.

    Raises:
        ValueError: it is neither a string nor a list of parts.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):  # parts: text beside images, of which the text is kept
        parts = [part.get("text") for part in content if isinstance(part, Mapping)]
        return "\n".join(part for part in parts if isinstance(part, str))
    raise ValueError(
        f"field {field!r}: `content` is of type {type(content).__name__}, not a string"
    )
