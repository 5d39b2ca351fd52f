"""Converts a data set row to a text, a prompt with its answer, or a conversation.

The type of a row follows from its field names, as in public data sets (`docs/calibration.md`).
Instruction rows use the prompt of Stanford Alpaca word for word, so that a local copy of Alpaca
gives the same text as the hub's `text` field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from slimgpt.texts.row_types import (
    ASSISTANT,
    Conversation,
    Exchange,
    Lesson,
    Prose,
    Unwanted,
)

TEXT_FIELDS = ("text", "content")
CHAT_FIELDS = ("messages", "conversations", "conversation")
ANSWERED = (
    ("instruction", ("output", "response", "chosen")),
    ("prompt", ("completion", "response", "chosen")),
    ("question", ("answer", "response", "chosen")),
    ("query", ("response", "answer", "chosen")),
)
"""Fields of prompts, each with possible fields of the answer; the first that exists is used."""
CHOSEN = "chosen"
CONTEXTS = ("input", "context")
SYSTEMS = ("system", "system_prompt")
KNOWN = frozenset(
    {*TEXT_FIELDS, *CHAT_FIELDS, CHOSEN, *(name for name, _ in ANSWERED)}
    | {name for _, names in ANSWERED for name in names}
)
"""Field names that determine the type of a row."""
ROLES = {
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "bing", "bard", "model", "bot"), ASSISTANT),
}
"""Role names of public data sets; other names are kept."""
_LIST_OF_OBJECTS = re.compile(r"\s*\[\s*\{\s*['\"](role|from|content|value)['\"]\s*:")
_HUMAN = re.compile(r"\n\n(Human|Assistant): ?")

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
    """Parse untrusted JSON.

    Raises:
        json.JSONDecodeError: it is not JSON.
        ValueError: Python cannot parse it; the message says why.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # Python limits the digits of an integer
        raise ValueError("a number in the JSON has too many digits") from error


def field_of(fields: Collection[str], asked: str | None, *, answers: bool = False) -> str:
    """The field that determines the type of a row.

    Args:
        asked: the requested field; None detects it.
        answers: whether types with answers take precedence over plain text, as for a recovery.

    Raises:
        ValueError: the requested field is missing, or no field is known to contain text.
    """
    there = ", ".join(fields) or "none"
    if asked is not None:
        if asked not in fields:
            raise ValueError(f"no field {asked!r}; the fields are: {there}")
        return asked
    asking = [name for name, told in ANSWERED if not {*told}.isdisjoint(fields)]
    answered = [name for name in (*CHAT_FIELDS, *asking, CHOSEN) if name in fields]
    plain = [name for name in TEXT_FIELDS if name in fields]
    found = [*answered, *plain] if answers else [*plain, *answered]
    if found:
        return found[0]
    for name, told in ANSWERED:
        if answers and name in fields:
            raise ValueError(f"the {name} has no answer: the field {told[0]!r} is missing")
    raise ValueError(f"no field is known to contain text; the fields are: {there}")


def text_of(row: object, asked: str | None) -> str:
    """The text of a row.

    Args:
        row: a string, or a mapping from JSON or `datasets`.
        asked: the field that contains the text; None detects it.

    Raises:
        ValueError: the row has no text; the message says why, without the row's number.
    """
    return lesson_of(row, asked, answers=False).text


def lesson_of(row: object, asked: str | None, *, answers: bool = True) -> Lesson:
    """Convert a row.

    Args:
        row: a string, or a mapping from JSON or `datasets`.
        asked: the field that contains text or messages; None detects it.
        answers: whether types with answers take precedence over plain text.

    Raises:
        ValueError: the row cannot be used; the message says why, without the row's number.
    """
    if isinstance(row, str):
        lesson: Lesson = Prose(row)
    elif isinstance(row, Mapping):
        lesson = _said(row, field_of(row.keys(), asked, answers=answers), asked, answers)
    else:
        raise ValueError(f"a {type(row).__name__}, not an object with a text field")
    try:
        lesson.text.encode()
    except UnicodeEncodeError as error:  # JSON may contain "\\ud83d" without its second half
        raise ValueError("the text contains a lone surrogate (half of a character)") from error
    return lesson


def _said(row: Mapping[str, Any], name: str, asked: str | None, answers: bool) -> Lesson:
    forms = dict(ANSWERED)
    if asked is None and name in forms:
        told = _answered(row, name, next(one for one in forms[name] if one in row))
        # Rows of unpaired preferences have a label: whether the completion is a good one.
        return Unwanted(told.text) if row.get("label") is False else told
    value = row[name]
    turns = _turns_in(value, name) if name in CHAT_FIELDS else value
    if isinstance(turns, list):
        return _conversation(row, turns, name, must_answer=answers)
    if name == CHOSEN and asked is None:
        return _marked_turns(_words(value, name))
    return Prose(_words(value, name))


def _words(value: object, name: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    raise ValueError(f"field {name!r} is of type {type(value).__name__}, not a string")


def _turns_in(value: object, name: str) -> object:
    """Messages that are stored as a JSON string, as in CSV; other values unchanged."""
    if not (isinstance(value, str) and value.lstrip().startswith("[")):
        return value
    try:
        found = loaded(value.encode(errors="surrogatepass"))
    except ValueError as error:
        if _LIST_OF_OBJECTS.match(value):  # a Python literal, not JSON
            raise ValueError(f"field {name!r} contains a list that is not JSON") from error
        return value
    return found if _is_turns(found) else value


def _is_turns(value: object) -> bool:
    return isinstance(value, list) and all(_has(one, "role") or _has(one, "from") for one in value)


def _answered(row: Mapping[str, Any], asking: str, answering: str) -> Lesson:
    """A prompt with its answer; in preference data the chosen answer."""
    prompt, answer = _turns_in(row[asking], asking), _turns_in(row[answering], answering)
    if _is_turns(answer) or _is_turns(prompt):
        turns = _joined(prompt, answer, asking)
        return _conversation(row, turns, answering, must_answer=True)
    if asking == "instruction":
        return _instruction(row, answering)
    system = next((_words(row[name], name) for name in SYSTEMS if name in row), "")
    said = "\n\n".join(part for part in (system, _words(prompt, asking)) if part)
    answer = _words(answer, answering)
    # Prompts for completion end with a space; questions do not.
    joint = "" if said[-1:].isspace() or answer[:1].isspace() or not said else "\n"
    return Exchange(f"{said}{joint}", answer)


def _joined(prompt: object, answer: object, name: str) -> list[Any]:
    """Messages of a prompt and an answer, each of which may also be a string."""
    asked = (
        prompt if isinstance(prompt, list) else [{"role": "user", "content": _words(prompt, name)}]
    )
    told = answer if isinstance(answer, list) else [{"role": ASSISTANT, "content": answer}]
    whole = told and isinstance(told[0], Mapping) and _role(told[0]) != ASSISTANT
    return told if whole else [*asked, *told]  # many data sets repeat the prompt in the answer


def _instruction(row: Mapping[str, Any], answering: str) -> Exchange:
    context = next((name for name in CONTEXTS if name in row), CONTEXTS[0])
    parts = {
        "instruction": _words(row["instruction"], "instruction"),
        "input": _words(row.get(context), context),
    }
    answer = _words(row[answering], answering)
    prompt = (WITH_INPUT if parts["input"] else WITHOUT_INPUT).format(**parts, output="")
    return Exchange(prompt, answer)


def _conversation(
    row: Mapping[str, Any], messages: list[Any], field: str, *, must_answer: bool
) -> Conversation:
    turns = []
    for message in messages:
        content = next((key for key in ("content", "value") if _has(message, key)), None)
        if content is None:
            raise ValueError(
                f"field {field!r} is a list, but not of messages with `content` or `value`"
            )
        turns.append({"role": _role(message), "content": content_of(message[content], field)})
    system = next((row[name] for name in SYSTEMS if isinstance(row.get(name), str)), "")
    if system.strip() and turns and turns[0]["role"] != "system":
        turns.insert(0, {"role": "system", "content": system})
    if must_answer and not any(turn["role"] == ASSISTANT for turn in turns):
        raise ValueError(f"field {field!r}: no message has the role 'assistant'")
    return Conversation(tuple(turns))


def _has(message: object, key: str) -> bool:
    return isinstance(message, Mapping) and key in message


def _role(message: Mapping[str, Any]) -> str:
    said = str(message.get("role") or message.get("from") or "user")
    return ROLES.get(said.lower(), said)


def _marked_turns(text: str) -> Prose | Conversation:
    """A conversation with `Human:` and `Assistant:` marks, as in Anthropic's preference data."""
    first, *parts = _HUMAN.split(text)
    if first.strip() or not parts:
        return Prose(text)
    roles = {"Human": "user", "Assistant": ASSISTANT}
    turns = zip(parts[::2], parts[1::2], strict=True)
    return Conversation(tuple({"role": roles[who], "content": said.strip()} for who, said in turns))


def content_of(content: object, field: str) -> str:
    """The text of a message's `content`; of a list of parts only text parts are kept.

    Raises:
        ValueError: the content is neither a string nor a list.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):  # parts: text and images
        parts = [part.get("text") for part in content if isinstance(part, Mapping)]
        return "\n".join(part for part in parts if isinstance(part, str))
    raise ValueError(
        f"field {field!r}: `content` is of type {type(content).__name__}, not a string"
    )
