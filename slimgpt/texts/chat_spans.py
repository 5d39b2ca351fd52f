"""Which characters of a conversation in a model's own form are the assistant's.

Templates that mark them (`{% generation %}`) are asked (`Tokenizer.chat_marked`). Of others it is
found by comparing what they make of nearly the same conversation:

1. The conversation is rendered again with another answer in the place of the one: where the two
   part, from the left and from the right, lies the answer, whatever the template does to it.
2. It begins earlier where the conversation goes on from what invites the answer: then all of what a
   model would have to write is learned. An invitation that opens with `<think>` and is not in the
   answered turn leaves the answer itself.
3. What the template puts after an answer (`<|im_end|>`) is learned with it: the longest end of the
   conversation up to this turn with which the whole goes on behind the answer.
"""

from __future__ import annotations

from slimgpt.texts.rows import ASSISTANT
from slimgpt.texts.tokenizer import Tokenizer

OTHER_ANSWERS = ("\N{PILCROW SIGN}", "\N{SECTION SIGN}", "\N{DAGGER}")
"""One of these begins and ends unlike any given answer."""
LONGEST_END = 200
"""Characters that a template puts after an answer, at most."""
Message = dict[str, str]
Span = tuple[int, int]


def spans(messages: list[Message], tokenizer: Tokenizer) -> tuple[str, list[Span]]:
    """The conversation in the model's own form, and where in it the answers stand, in order.

    Answers that the template leaves out, and empty ones, have no span.

    Raises:
        CalibrationError: the template refuses it.
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
    """Where the answer of one turn stands; None where another answer would change nothing."""
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
    """How many characters two texts have in common from their start on."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _overlap(before: str, after: str) -> int:
    """Length of the longest end of one text that the other begins with."""
    most = min(len(before), len(after), LONGEST_END)
    return next((n for n in range(most, 0, -1) if after.startswith(before[-n:])), 0)
