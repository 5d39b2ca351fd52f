"""Tokenises training rows of a recovery, with label masks.

In instructions and conversations only the answers have labels. Rows are tokenised with the model's
tokenizer and, if there is one, its chat template. Rows that cannot be used raise `LeftOut`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from slimgpt.errors import CalibrationError
from slimgpt.texts.row_types import ASSISTANT, Conversation, Exchange, Lesson, Prose, Unwanted
from slimgpt.texts.tokenization.chat_spans import spans
from slimgpt.texts.tokenization.tokenizer import Tokenizer

IGNORED = -100
"""Label of a token without loss, as in transformers."""
Reason = Literal[
    "an empty answer",
    "an answer that the row marks as a bad one",
    "a prompt that fills the sequence",
    "an answer that the chat template leaves out",
    "messages that the chat template refuses",
    "text that the evaluation asks for",
]


class LeftOut(ValueError):  # noqa: N818 - says what is the case
    """A row cannot be used for training.

    Attributes:
        reason: the reason, by which rows are counted.
        detail: details of this row; may be empty.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason)
        self.reason: Reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Tokens:
    """A tokenised training row. `labels` are the token ids, or `IGNORED`."""

    input_ids: list[int]
    labels: list[int]

    @property
    def learned(self) -> int:
        """Number of tokens with a label, without the first, which is not predicted."""
        return sum(label != IGNORED for label in self.labels[1:])


def tokens_of(lesson: Lesson, tokenizer: Tokenizer, length: int) -> list[Tokens]:
    """Tokenise a row to at least one sequence of at most `length` tokens.

    Plain text is cut into consecutive sequences; other rows are truncated at `length`.

    Raises:
        LeftOut: no token of the row would have a label.
        UnsupportedModelError: the tokenizer does not return character offsets.
    """
    if isinstance(lesson, Unwanted):
        raise LeftOut("an answer that the row marks as a bad one")
    if not lesson:
        raise LeftOut("an empty answer")
    if isinstance(lesson, Prose):
        return _prose(lesson.text, tokenizer, length)
    if isinstance(lesson, Exchange):
        whole = _masked([(lesson.prompt, False), (lesson.answer, True)], tokenizer)
    elif tokenizer.has_chat_template:
        whole = _spoken(lesson, tokenizer)
    else:
        whole = _masked(_plain_turns(lesson), tokenizer)
    cut = Tokens(whole.input_ids[:length], whole.labels[:length])
    if cut.learned:
        return [cut]
    if whole.learned:
        raise LeftOut("a prompt that fills the sequence")
    raise LeftOut("an answer that the chat template leaves out")


def _prose(text: str, tokenizer: Tokenizer, length: int) -> list[Tokens]:
    """Consecutive sequences, each with the tokens that the tokenizer prepends to a text."""
    first = list(tokenizer.first_tokens)
    ids = tokenizer.encode(text)[len(first) :]
    body = length - len(first)
    pieces = [ids[start : start + body] for start in range(0, len(ids), body)]
    made = [Tokens(first + piece, [IGNORED] * len(first) + piece) for piece in pieces]
    return [one for one in made if one.learned]


def _plain_turns(conversation: Conversation) -> list[tuple[str, bool]]:
    pieces: list[tuple[str, bool]] = []
    for turn in conversation.messages:
        pieces += [(f"{turn['role']}: ", False), (turn["content"], turn["role"] == ASSISTANT)]
        pieces.append(("\n\n", False))
    return pieces[:-1]


def _spoken(conversation: Conversation, tokenizer: Tokenizer) -> Tokens:
    """A conversation in the model's chat template; its answers are marked by the template
    (`{% generation %}`) or found by `chat_spans.spans`.
    """
    messages = list(conversation.messages)
    try:
        marked = tokenizer.chat_marked(messages)
        if marked is not None:
            ids, mask = marked
            return Tokens(ids, [i if on else IGNORED for i, on in zip(ids, mask, strict=True)])
        whole, answers = spans(messages, tokenizer)
    except CalibrationError as error:
        raise LeftOut("messages that the chat template refuses", error.message) from error
    pieces, at = [], 0
    for begin, end in answers:
        pieces += [(whole[at:begin], False), (whole[begin:end], True)]
        at = end
    return _masked([*pieces, (whole[at:], False)], tokenizer, in_template=True)


def _masked(
    pieces: list[tuple[str, bool]], tokenizer: Tokenizer, *, in_template: bool = False
) -> Tokens:
    """Tokens of the joined pieces; tokens that overlap a learned piece have labels.

    Args:
        in_template: whether the text already contains its special tokens; else the tokenizer adds
            them, and an end token with a label follows.
    """
    text = "".join(text for text, _ in pieces)
    ids, offsets = tokenizer.encode_with_offsets(text, special=not in_template)
    labels = [IGNORED] * len(ids)
    at = 0
    for piece, learned in pieces:
        begin, at = at, at + len(piece)
        if learned:
            for position, (first, last) in enumerate(offsets):
                if first < at and last > begin:
                    labels[position] = ids[position]
    if not in_template and tokenizer.end is not None and ids[-1:] != [tokenizer.end]:
        ids, labels = [*ids, tokenizer.end], [*labels, tokenizer.end]
    return Tokens(ids, labels)
