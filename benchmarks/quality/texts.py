"""What a subject's models are given: calibration windows, held-out windows, prompts.

Calibration windows are the engine's own, drawn by the same specification. Held-out windows are cut
from the whole text end to end and chosen by a seed of their own, so that they are the same for
every method, ratio and calibration seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from random import Random

import torch
from torch import Tensor

from benchmarks.quality.subjects import WINDOW, Subject
from slimgpt.spec.prune import PruneSpec
from slimgpt.stages.resolve import draw_calibration
from slimgpt.texts import local
from slimgpt.texts.seeded_order import shuffled
from slimgpt.texts.tokenization import windows
from slimgpt.texts.tokenization.tokenizer import Tokenizer
from slimgpt.texts.tokenization.windows import Beginning

WINDOWS = 40  # of each text
SEED = 20_261  # of their choice
PROMPT, CONTINUATION = 32, 64  # tokens


@dataclass(frozen=True)
class HeldOut:
    """What every model is measured on.

    Attributes:
        windows: of each text, (40, 256) int64.
        given: tokens at the start of each window that are not predicted.
    """

    windows: Mapping[str, Tensor]
    given: int

    @property
    def prompts(self) -> Tensor:
        """The beginnings of the last text's windows, (40, 32) int64."""
        return list(self.windows.values())[-1][:, :PROMPT]

    @property
    def sha256(self) -> str:
        """Of all of it."""
        every = torch.cat(list(self.windows.values()))
        return hashlib.sha256(every.numpy().astype("<i8").tobytes()).hexdigest()


def held_out(subject: Subject) -> HeldOut:
    """The subject's held-out windows; each begins with what its tokenizer puts before a text.

    Raises:
        CalibrationError: a text is too short, or the windows too long for the model.
    """
    tokenizer = Tokenizer.load(subject.folder)
    chosen = {}
    for name, file in subject.held_out.items():
        text = local.whole(subject.texts / file, name)
        cut = windows.windows(text, tokenizer, WINDOW, name=name)
        order = islice(shuffled(len(cut), Random(SEED)), WINDOWS)
        chosen[name] = cut[sorted(order)]
    return HeldOut(chosen, Beginning.of(tokenizer, "tokenizer", WINDOW).given)


def calibration(subject: Subject, spec: PruneSpec) -> Tensor:
    """The windows that the engine would calibrate on, (samples, 256) int64.

    Raises:
        CalibrationError: the text is too short.
    """
    tokenizer = Tokenizer.load(subject.folder)
    return draw_calibration(spec, tokenizer, subject.roots).input_ids
