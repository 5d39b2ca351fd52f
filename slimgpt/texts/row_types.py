"""What a data set row can say: plain text, a prompt with its answer, a conversation."""

from __future__ import annotations

from dataclasses import dataclass

ASSISTANT = "assistant"


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
