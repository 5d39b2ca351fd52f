"""From a row of a data set to what it says: a text, a prompt with its answer, or a conversation.

The forms are those of public data sets, by the names of their fields (`docs/calibration.md`).
Instruction rows become the prompt of Stanford Alpaca with its answer, word for word, so that a
local copy of Alpaca gives the same text as the hub's `text` field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

TEXT_FIELDS = ("text", "content")
CHAT_FIELDS = ("messages", "conversations", "conversation")
ANSWERED = (
    ("instruction", ("output", "response", "chosen")),
    ("prompt", ("completion", "response", "chosen")),
    ("question", ("answer", "response", "chosen")),
    ("query", ("response", "answer", "chosen")),
)
"""Fields that ask, each with those that may answer; the first that is there is taken."""
CHOSEN = "chosen"
CONTEXTS = ("input", "context")
SYSTEMS = ("system", "system_prompt")
KNOWN = frozenset(
    {*TEXT_FIELDS, *CHAT_FIELDS, CHOSEN, *(name for name, _ in ANSWERED)}
    | {name for _, names in ANSWERED for name in names}
)
"""Names of fields that say what a row is."""
ASSISTANT = "assistant"
ROLES = {
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "bing", "bard", "model", "bot"), ASSISTANT),
}
"""What public data sets call the two who talk; other names stay as they are."""
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


@dataclass(frozen=True)
class Prose:
    """Text that stands for itself."""

    text: str

    def __bool__(self) -> bool:
        return bool(self.text.strip())


@dataclass(frozen=True)
class Exchange:
    """A prompt and the answer to it, which follows it as it is."""

    prompt: str
    answer: str

    def __bool__(self) -> bool:
        return bool(self.answer.strip())

    @property
    def text(self) -> str:
        """Both, as a model reads them."""
        return self.prompt + self.answer


@dataclass(frozen=True)
class Conversation:
    """Messages, each with `role` and `content`; the assistant's are the answers."""

    messages: tuple[dict[str, str], ...]

    def __bool__(self) -> bool:
        return any(turn["content"].strip() for turn in self.messages if turn["role"] == ASSISTANT)

    @property
    def text(self) -> str:
        """Plain turns: no chat template, which would tie the text to one model."""
        return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in self.messages)


@dataclass(frozen=True)
class Unwanted:
    """An answer that the row itself marks as a bad one: nothing to learn from."""

    text: str

    def __bool__(self) -> bool:
        return False


Lesson = Prose | Exchange | Conversation | Unwanted
"""What a row says; false where there is nothing in it to learn: an answer that is empty."""


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


def field_of(fields: Collection[str], asked: str | None, *, answers: bool = False) -> str:
    """Which field of a row says what form it has.

    Args:
        answers: whether forms with answers go before plain text, as for a recovery.

    Raises:
        ValueError: the field asked for is not there, or none is that could be text.
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
    raise ValueError(f"no field is known to hold text; the fields are: {there}")


def text_of(row: object, asked: str | None) -> str:
    """The text of a row: a string, or a mapping of a form that is known.

    Args:
        row: one row, as JSON or `datasets` gives it.
        asked: the field that holds the text; None finds it.

    Raises:
        ValueError: the row holds no text; the message says why, without saying which row.
    """
    return lesson_of(row, asked, answers=False).text


def lesson_of(row: object, asked: str | None, *, answers: bool = True) -> Lesson:
    """What a row says.

    Args:
        row: a string, or a mapping as JSON or `datasets` gives it.
        asked: the field that holds text or messages; None finds it.
        answers: whether forms with answers go before plain text.

    Raises:
        ValueError: the row holds nothing to learn from; the message says why.
    """
    if isinstance(row, str):
        lesson: Lesson = Prose(row)
    elif isinstance(row, Mapping):
        lesson = _said(row, field_of(row.keys(), asked, answers=answers), asked, answers)
    else:
        raise ValueError(f"a {type(row).__name__}, not an object with a text field")
    try:
        lesson.text.encode()
    except UnicodeEncodeError as error:  # JSON can say "\\ud83d" without its other half
        raise ValueError("the text holds half of a character (a lone surrogate)") from error
    return lesson


def _said(row: Mapping[str, Any], name: str, asked: str | None, answers: bool) -> Lesson:
    forms = dict(ANSWERED)
    if asked is None and name in forms:
        told = _answered(row, name, next(one for one in forms[name] if one in row))
        # A row of unpaired preferences says whether its completion is one to learn.
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
    """Messages that a table without lists has written as JSON, else the value itself."""
    if not (isinstance(value, str) and value.lstrip().startswith("[")):
        return value
    try:
        found = loaded(value.encode(errors="surrogatepass"))
    except ValueError as error:
        if _LIST_OF_OBJECTS.match(value):  # as Python writes it, and nothing else reads it
            raise ValueError(f"field {name!r} holds a list that is not JSON") from error
        return value
    return found if _is_turns(found) else value


def _is_turns(value: object) -> bool:
    return isinstance(value, list) and all(_has(one, "role") or _has(one, "from") for one in value)


def _answered(row: Mapping[str, Any], asking: str, answering: str) -> Lesson:
    """A prompt with its answer; of preferences the chosen one."""
    prompt, answer = _turns_in(row[asking], asking), _turns_in(row[answering], answering)
    if _is_turns(answer) or _is_turns(prompt):
        turns = _joined(prompt, answer, asking)
        return _conversation(row, turns, answering, must_answer=True)
    if asking == "instruction":
        return _instruction(row, answering)
    system = next((_words(row[name], name) for name in SYSTEMS if name in row), "")
    said = "\n\n".join(part for part in (system, _words(prompt, asking)) if part)
    answer = _words(answer, answering)
    # Who wrote prompts to be continued has put the space; a question has none.
    joint = "" if said[-1:].isspace() or answer[:1].isspace() or not said else "\n"
    return Exchange(f"{said}{joint}", answer)


def _joined(prompt: object, answer: object, name: str) -> list[Any]:
    """Messages of a prompt and of an answer, either of which may be words instead."""
    asked = (
        prompt if isinstance(prompt, list) else [{"role": "user", "content": _words(prompt, name)}]
    )
    told = answer if isinstance(answer, list) else [{"role": ASSISTANT, "content": answer}]
    whole = told and isinstance(told[0], Mapping) and _role(told[0]) != ASSISTANT
    return told if whole else [*asked, *told]  # many sets repeat the prompt in the answer


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
        raise ValueError(f"field {field!r}: nobody answers: no message has the role 'assistant'")
    return Conversation(tuple(turns))


def _has(message: object, key: str) -> bool:
    return isinstance(message, Mapping) and key in message


def _role(message: Mapping[str, Any]) -> str:
    said = str(message.get("role") or message.get("from") or "user")
    return ROLES.get(said.lower(), said)


def _marked_turns(text: str) -> Prose | Conversation:
    """A conversation whose turns are marked in its text, as Anthropic's preferences have them."""
    first, *parts = _HUMAN.split(text)
    if first.strip() or not parts:
        return Prose(text)
    roles = {"Human": "user", "Assistant": ASSISTANT}
    turns = zip(parts[::2], parts[1::2], strict=True)
    return Conversation(tuple({"role": roles[who], "content": said.strip()} for who, said in turns))


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
