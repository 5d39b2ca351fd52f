"""`TrainingData`: tokenised training and held-out rows of a recovery."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np

from slimgpt.errors import CalibrationError
from slimgpt.recovery.decision import SMALLEST_BATCH
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import RecoverySpec
from slimgpt.spec.sizes import counted
from slimgpt.texts import sources
from slimgpt.texts.label_masking import LeftOut, Reason, Tokens, tokens_of
from slimgpt.texts.overlap import Seen
from slimgpt.texts.seeded_order import shuffled
from slimgpt.texts.tokenization.tokenizer import Tokenizer

HELD_OUT_SHARE = 20
MOST_HELD_OUT = 200


@dataclass
class Count:
    """Number of rows skipped for one reason, and the first of them."""

    rows: int
    first: int
    detail: str

    def __str__(self) -> str:
        which = "row" if self.rows == 1 else "the first is row"
        return f"{which} {self.first:,}" + (f": {self.detail}" if self.detail else "")


@dataclass
class TrainingData:
    """Tokenised sequences, and counts of skipped rows.

    Attributes:
        training: training sequences.
        held_out: sequences of other rows, for the held-out loss.
        source: description of the text.
        rows: number of rows read.
        reasons: skipped rows by reason.
    """

    source: str
    training: list[Tokens] = field(default_factory=list)
    held_out: list[Tokens] = field(default_factory=list)
    rows: int = 0
    reasons: dict[Reason, Count] = field(default_factory=dict)

    def leave_out(self, number: int, why: LeftOut) -> None:
        """Count a skipped row, by its number in the source, from 1."""
        count = self.reasons.setdefault(why.reason, Count(0, number, why.detail))
        count.rows += 1
        if number < count.first:
            count.first, count.detail = number, why.detail

    @property
    def sha256(self) -> str:
        """Hash of the training sequences' ids and labels, in order."""
        digest = hashlib.sha256()
        for tokens in self.training:
            for ids in (tokens.input_ids, tokens.labels):
                digest.update(np.asarray([len(ids), *ids], dtype="<i8").tobytes())
        return digest.hexdigest()

    @property
    def left_out(self) -> str:
        """The skipped rows as text; empty if there are none."""
        told = (f"{count.rows:,} with {why} ({count})" for why, count in self.reasons.items())
        return ", ".join(told)


def gather(
    spec: RecoverySpec, tokenizer: Tokenizer, evaluation_sets: Iterable[Sequence[int]], roots: Roots
) -> TrainingData:
    """Read rows in a seeded order and tokenise them.

    Args:
        evaluation_sets: sequences of the evaluation text; rows that share long runs of tokens with
            them are skipped.

    Raises:
        CalibrationError: the text is not available, a row is invalid, or too few are left for a
            batch.
        HubUnreachableError, StorageError: as `sources.training_rows`.
    """
    tokenizer.check_length(spec.sequence_length)
    rows = sources.training_rows(
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
            place, wanted = training_data.training, wanted - 1
        else:
            break
        training_data.rows += 1
        try:
            tokens = tokens_of(rows[index], tokenizer, spec.sequence_length)
            if seen.shares([token for one in tokens for token in one.input_ids]):
                raise LeftOut("text that the evaluation asks for")
        except LeftOut as why:
            training_data.leave_out(index + 1, why)
        else:
            place += tokens
    if not training_data.training:
        raise _empty(training_data, spec)
    if len(training_data.training) < (batch := spec.batch_size or SMALLEST_BATCH):
        raise _too_small(training_data, spec, batch)
    return training_data


def _too_small(training_data: TrainingData, spec: RecoverySpec, batch: int) -> CalibrationError:
    sequences = len(training_data.training)
    smaller = f", or recovery.batch_size {sequences}" if spec.batch_size else ""
    return CalibrationError(
        f"recovery: {spec.source} has {counted(sequences, 'training sequence')}, fewer than "
        f"{'a' if spec.batch_size else 'the smallest'} batch of {batch}",
        hint=f"use more text{smaller}",
    )


def _empty(training_data: TrainingData, spec: RecoverySpec) -> CalibrationError:
    why = f": {training_data.left_out}" if training_data.left_out else ""
    hints = {
        "a prompt that fills the sequence": "raise recovery.sequence_length above "
        f"{spec.sequence_length}",
        "messages that the chat template refuses": "order the messages as the model's chat "
        "template requires",
    }
    main = max(training_data.reasons, key=lambda why: training_data.reasons[why].rows, default="")
    return CalibrationError(
        f"recovery: {spec.source} has no training row among {training_data.rows:,} rows{why}",
        hint=hints.get(main, "use rows in a format of docs/calibration.md, with answers"),
    )
