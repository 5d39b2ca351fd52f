"""Recovery training rows: instructions, conversations, plain text; tokenised with label masks.

Of instructions and conversations only the answers are learned; the rest is read. A lesson becomes
tokens with the model's own tokenizer, and its own chat template where it has one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from slimgpt.texts.rows import (
    CHAT_FIELD,
    INSTRUCTION_FIELDS,
    WITH_INPUT,
    WITHOUT_INPUT,
    content_of,
    text_of,
)
from slimgpt.texts.tokenizer import Tokenizer

ANSWERING = frozenset({"assistant", "gpt", "model"})
IGNORED = -100
"""Label of a token that is read and not learned, as transformers has it."""


@dataclass(frozen=True)
class Prose:
    """Text that is learned as a whole."""

    text: str

    def __bool__(self) -> bool:
        return bool(self.text.strip())


@dataclass(frozen=True)
class Exchange:
    """A prompt and the answer to it."""

    prompt: str
    answer: str

    def __bool__(self) -> bool:
        return bool(self.answer.strip())


@dataclass(frozen=True)
class Conversation:
    """Messages, each with `role` and `content`; the assistant's are learned."""

    messages: tuple[dict[str, str], ...]

    def __bool__(self) -> bool:
        return any(turn["content"].strip() for turn in self.messages if turn["role"] in ANSWERING)


Lesson = Prose | Exchange | Conversation
"""A lesson is false where it has nothing to learn: an answer that is empty."""


@dataclass(frozen=True)
class Tokens:
    """A lesson as the model reads it. `labels` are the ids again, or `IGNORED`."""

    input_ids: list[int]
    labels: list[int]

    @property
    def learned(self) -> int:
        """How many tokens are learned; the first is predicted by nothing."""
        return sum(label != IGNORED for label in self.labels[1:])


def lesson_of(row: object, field: str | None) -> Lesson:
    """The lesson in a row: Alpaca's fields, a list of messages, or text.

    Args:
        row: a string, or a mapping as JSON or `datasets` gives it.
        field: the field that holds text or messages; None finds it, answers before plain text.

    Raises:
        ValueError: the row holds nothing to learn from; the message says why.
    """
    if not isinstance(row, Mapping) or (field is not None and isinstance(row.get(field), str)):
        return Prose(text_of(row, field))
    name = field or CHAT_FIELD
    if isinstance(row.get(name), list):
        return _conversation(row[name], name)
    if field is None and INSTRUCTION_FIELDS[0] in row:
        return _exchange(row)
    return Prose(text_of(row, field))


def _exchange(row: Mapping[str, Any]) -> Exchange:
    if INSTRUCTION_FIELDS[1] not in row:
        raise ValueError("the instruction has no answer: the field 'output' is missing")
    parts = {name: row.get(name) or "" for name in ("instruction", "input", "output")}
    for name, value in parts.items():
        if not isinstance(value, str):
            raise ValueError(f"field {name!r} is of type {type(value).__name__}, not a string")
    answer = parts.pop("output")
    prompt = (WITH_INPUT if parts["input"] else WITHOUT_INPUT).format(**parts, output="")
    return Exchange(prompt, answer)


def _conversation(messages: list[Any], field: str) -> Conversation:
    turns = []
    for message in messages:
        if not isinstance(message, Mapping) or "content" not in message:
            raise ValueError(f"field {field!r} is a list, but not of messages with `content`")
        role = str(message.get("role", "user"))
        turns.append({"role": role, "content": content_of(message["content"], field)})
    if not any(turn["role"] in ANSWERING for turn in turns):
        raise ValueError(f"field {field!r}: nobody answers: no message has the role 'assistant'")
    return Conversation(tuple(turns))


def tokens_of(lesson: Lesson, tokenizer: Tokenizer, length: int) -> Iterator[Tokens]:
    """The lesson in sequences of at most `length` tokens.

    Prose is cut end to end; what goes beyond `length` of an answer is left out. Nothing comes of a
    lesson whose prompt alone is that long.
    """
    if isinstance(lesson, Prose):
        ids = tokenizer.encode(lesson.text)
        pieces = (ids[start : start + length] for start in range(0, len(ids), length))
        yield from (Tokens(piece, list(piece)) for piece in pieces if len(piece) > 1)
        return
    if isinstance(lesson, Exchange):
        whole = _masked([(lesson.prompt, False), (lesson.answer, True)], tokenizer, ends=True)
    else:
        whole = _spoken(lesson, tokenizer)
    cut = Tokens(whole.input_ids[:length], whole.labels[:length])
    if cut.learned:
        yield cut


def _spoken(conversation: Conversation, tokenizer: Tokenizer) -> Tokens:
    """A conversation by the model's chat template; as plain turns where it has none."""
    if not tokenizer.has_chat_template:
        pieces: list[tuple[str, bool]] = []
        for turn in conversation.messages:
            pieces += [(f"{turn['role']}: ", False), (turn["content"], turn["role"] in ANSWERING)]
            pieces.append(("\n\n", False))
        return _masked(pieces[:-1], tokenizer, ends=True)
    messages = list(conversation.messages)
    whole = tokenizer.chat(messages)
    pieces, at = [], 0
    for index, turn in enumerate(messages):
        if turn["role"] in ANSWERING:
            asked = tokenizer.chat(messages[:index], answer_next=True)
            answered = tokenizer.chat(messages[: index + 1])
            if not (answered.startswith(asked) and whole.startswith(asked)):
                continue  # a template that rewrites earlier turns: only what stands is learned
            pieces += [(whole[at : len(asked)], False), (whole[len(asked) : len(answered)], True)]
            at = len(answered)
    return _masked([*pieces, (whole[at:], False)], tokenizer, special=False)


def _masked(
    pieces: list[tuple[str, bool]],
    tokenizer: Tokenizer,
    *,
    special: bool = True,
    ends: bool = False,
) -> Tokens:
    """Tokens of the joined pieces; those that reach into a learned piece are learned.

    Args:
        special: whether the tokenizer adds its special tokens.
        ends: whether the token that ends a text is learned after it.
    """
    ids, offsets = tokenizer.encode_with_offsets("".join(text for text, _ in pieces), special)
    labels = [IGNORED] * len(ids)
    at = 0
    for text, learned in pieces:
        begin, at = at, at + len(text)
        if learned:
            for position, (first, last) in enumerate(offsets):
                if first < at and last > begin:
                    labels[position] = ids[position]
    if ends and tokenizer.end is not None and ids[-1:] != [tokenizer.end]:
        ids, labels = [*ids, tokenizer.end], [*labels, tokenizer.end]
    return Tokens(ids, labels)
