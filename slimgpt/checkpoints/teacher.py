"""What a distillation's teacher must share with the model that it teaches."""

from __future__ import annotations

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.errors import SpecError


def require_vocabulary(teacher: Checkpoint, student: Checkpoint, name: str) -> None:
    """Refuse a teacher whose distributions are over other tokens.

    Args:
        name: of the teacher.

    Raises:
        SpecError: the vocabularies differ in size.
    """
    theirs, ours = teacher.architecture.vocabulary, student.architecture.vocabulary
    if theirs != ours:
        raise SpecError(
            f"recovery.teacher: {name} has a vocabulary of {theirs:,}, the model of {ours:,}",
            hint="choose a teacher with the same tokenizer, or use method `lora`",
        )
