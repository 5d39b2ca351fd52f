"""`TrainingData`: tokenised training and held-out rows of a recovery."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np

from slimgpt.errors import CalibrationError
from slimgpt.origins.roots import Roots
from slimgpt.spec.prune import RecoverySpec
from slimgpt.texts import sources
from slimgpt.texts.instructions import Tokens, tokens_of
from slimgpt.texts.overlap import Seen
from slimgpt.texts.seeded_order import shuffled
from slimgpt.texts.tokenizer import Tokenizer

HELD_OUT_SHARE = 20
MOST_HELD_OUT = 200


@dataclass
class TrainingData:
    """Sequences of tokens, and what became of the rows.

    Attributes:
        learned: what is trained on.
        held_out: what is only measured; of rows that are not in `learned`.
        source: what the rows are.
        rows: how many were read.
        unanswered: rows left out because their answer is empty.
        too_long: rows left out because their prompt fills the whole sequence.
        overlapping: rows left out because they share a long run with the evaluation text.
    """

    source: str
    learned: list[Tokens] = field(default_factory=list)
    held_out: list[Tokens] = field(default_factory=list)
    rows: int = 0
    unanswered: int = 0
    too_long: int = 0
    overlapping: int = 0

    @property
    def sha256(self) -> str:
        """Of the ids and labels that are trained on, in order."""
        digest = hashlib.sha256()
        for tokens in self.learned:
            for ids in (tokens.input_ids, tokens.labels):
                digest.update(np.asarray([len(ids), *ids], dtype="<i8").tobytes())
        return digest.hexdigest()

    @property
    def left_out(self) -> str:
        """What was left out, in words; empty where nothing was."""
        reasons = {
            "an empty answer": self.unanswered,
            "a prompt that fills the sequence": self.too_long,
            "text that the evaluation asks for": self.overlapping,
        }
        return ", ".join(f"{count:,} with {why}" for why, count in reasons.items() if count)


def gather(
    spec: RecoverySpec, tokenizer: Tokenizer, evaluation_sets: Iterable[Sequence[int]], roots: Roots
) -> TrainingData:
    """Read the rows in a seeded order and make sequences of them.

    Args:
        exams: sequences of the evaluation text; rows that share long runs with them are left out.

    Raises:
        CalibrationError: the text cannot be had, a row of it is bad, or nothing is left to learn.
        HubUnreachableError, StorageError: as `sources.lessons`.
    """
    tokenizer.check_length(spec.sequence_length)
    rows = sources.lessons(
        spec.source,
        config=spec.config,
        split=spec.split,
        text_field=spec.text_field,
        roots=roots,
    )
    training_data, seen = TrainingData(rows.description), Seen(evaluation_sets)
    wanted = len(rows) if spec.samples is None else spec.samples
    aside = min(MOST_HELD_OUT, len(rows) // HELD_OUT_SHARE, max(1, wanted // 2))
    for index in shuffled(len(rows), Random(spec.seed)):
        if len(training_data.held_out) < aside:
            place = training_data.held_out
        elif wanted:
            place, wanted = training_data.learned, wanted - 1
        else:
            break
        lesson = rows[index]
        training_data.rows += 1
        if not lesson:
            training_data.unanswered += 1
            continue
        tokens = list(tokens_of(lesson, tokenizer, spec.sequence_length))
        if not tokens:
            training_data.too_long += 1
        elif seen.shares([token for one in tokens for token in one.input_ids]):
            training_data.overlapping += 1
        else:
            place += tokens
    if not training_data.learned:
        raise _nothing(training_data, spec)
    return training_data


def _nothing(training_data: TrainingData, spec: RecoverySpec) -> CalibrationError:
    why = f": {training_data.left_out}" if training_data.left_out else ""
    return CalibrationError(
        f"recovery: {spec.source} leaves nothing to learn from {training_data.rows:,} rows{why}",
        hint="give rows with `instruction` and `output`, with `messages`, or with `text`",
    )
