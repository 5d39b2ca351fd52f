"""Finds the assistant's answers in a conversation rendered by a chat template.

For templates that mark answers (`{% generation %}`) see `Tokenizer.chat_marked`. For others, the
answers are found by rendering variants of the conversation:

1. The conversation is rendered again with another answer. The first and the last difference of the
   two texts delimit the answer, however the template changes it.
2. If the conversation starts with the generation prompt of the answer, the span starts at the end
   of that prompt, so that it has everything a model must generate. If not (a prompt that opens
   `<think>`, which the finished turn lacks), it starts at the answer.
3. The span includes what the template appends to an answer (`<|im_end|>`): the longest suffix of
   the conversation up to this turn that follows the answer in the whole conversation.
"""

from __future__ import annotations

from slimgpt.texts.row_types import ASSISTANT
from slimgpt.texts.tokenization.tokenizer import Tokenizer

OTHER_ANSWERS = ("\N{PILCROW SIGN}", "\N{SECTION SIGN}", "\N{DAGGER}")
"""For any answer, one of these differs from its first and last character."""
LONGEST_END = 200
"""Most characters that a template appends to an answer."""
Message = dict[str, str]
Span = tuple[int, int]


def spans(messages: list[Message], tokenizer: Tokenizer) -> tuple[str, list[Span]]:
    """The rendered conversation and the spans [first, last) of its answers, in order.

    Answers that the template omits, and empty ones, have no span.

    Raises:
        CalibrationError: the template refuses the conversation.
    """
    whole, found = tokenizer.chat(messages), []
    for index, message in enumerate(messages):
        if message["role"] != ASSISTANT or not message["content"].strip():
            continue
        answer = _answer(messages, index, whole, tokenizer)
        if answer is None:
            continue
        begin, end = answer
        asked = tokenizer.chat(messages[:index], answer_next=True) if index else ""
        if asked and whole.startswith(asked):
            begin = min(begin, len(asked))
        told = tokenizer.chat(messages[: index + 1])
        found.append((begin, end + _overlap(told, whole[end:])))
    return whole, found


def _answer(messages: list[Message], index: int, whole: str, tokenizer: Tokenizer) -> Span | None:
    """The span of one turn's answer; None if the template does not render it."""
    said = messages[index]["content"].strip()
    other = next(one for one in OTHER_ANSWERS if one not in (said[0], said[-1]))
    changed = tokenizer.chat(
        [*messages[:index], {**messages[index], "content": other}, *messages[index + 1 :]]
    )
    if changed == whole:
        return None
    begin = _alike(whole, changed)
    most = min(len(whole), len(changed)) - begin
    return begin, len(whole) - min(_alike(whole[::-1], changed[::-1]), most)


def _alike(one: str, other: str) -> int:
    """Length of the common prefix of two texts."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _overlap(before: str, after: str) -> int:
    """Length of the longest suffix of one text that is a prefix of the other."""
    most = min(len(before), len(after), LONGEST_END)
    return next((n for n in range(most, 0, -1) if after.startswith(before[-n:])), 0)
