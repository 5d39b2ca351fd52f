"""Types of data set rows: plain text, a prompt with its answer, a conversation."""

from __future__ import annotations

from dataclasses import dataclass

ASSISTANT = "assistant"


@dataclass(frozen=True)
class Prose:
    """Plain text."""

    text: str

    def __bool__(self) -> bool:
        return bool(self.text.strip())


@dataclass(frozen=True)
class Exchange:
    """A prompt and its answer, which follows without a separator."""

    prompt: str
    answer: str

    def __bool__(self) -> bool:
        return bool(self.answer.strip())

    @property
    def text(self) -> str:
        """Prompt and answer, joined."""
        return self.prompt + self.answer


@dataclass(frozen=True)
class Conversation:
    """Messages, each with `role` and `content`; the assistant's are the answers."""

    messages: tuple[dict[str, str], ...]

    def __bool__(self) -> bool:
        return any(turn["content"].strip() for turn in self.messages if turn["role"] == ASSISTANT)

    @property
    def text(self) -> str:
        """The messages as plain text, without a chat template, which differs between models."""
        return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in self.messages)


@dataclass(frozen=True)
class Unwanted:
    """An answer that the row marks as rejected; it is not used for training."""

    text: str

    def __bool__(self) -> bool:
        return False


Lesson = Prose | Exchange | Conversation | Unwanted
"""A row; false if it has nothing to train on, for example an empty answer."""
