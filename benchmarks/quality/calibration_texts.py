"""Further texts to calibrate on, beside the subject's own: instructions, technical prose, mixtures,
and what the dense model writes itself.

They are files in the subject's folder of texts, made where they are not there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import chain, islice, zip_longest
from pathlib import Path

import torch
from transformers import AutoTokenizer

from benchmarks.models import SHARED
from benchmarks.quality import dense
from benchmarks.quality.subjects import WINDOW, Subject
from slimgpt.machine import disk
from slimgpt.texts import local

INSTRUCTIONS = SHARED / "data/alpaca/alpaca_libre_ok.json"
TECHNICAL = SHARED / "data/tech/tech-train.jsonl.gz"
DOCUMENTS = 1000  # of a text, of the model's own, and of each part of a mixture
ROWS = 50  # that the model writes at once
SEED = 20_262


def make(name: str, subject: Subject, device: torch.device) -> str:
    """The file of a text, in the subject's folder of texts.

    Args:
        name: a key of `TEXTS`.

    Raises:
        SlimGPTError: what it is made from is not there.
    """
    file = subject.texts / f"{name}-for-{subject.model}.jsonl"
    if not file.is_file():
        lines = (json.dumps({"text": text}) + "\n" for text in TEXTS[name](subject, device))
        disk.write_text(file, "".join(lines))
    return file.name


def _own(subject: Subject, _: torch.device) -> list[str]:
    return _documents(subject.texts / subject.calibration)


def _instructions(subject: Subject, device: torch.device) -> list[str]:
    del subject, device
    return _documents(INSTRUCTIONS)


def _technical(subject: Subject, device: torch.device) -> list[str]:
    del subject, device
    return _documents(TECHNICAL)


def _mixed(subject: Subject, device: torch.device) -> list[str]:
    """Documents of three texts in turn; instructions, which are short, four at a time."""
    four = iter(_instructions(subject, device))
    joined = iter(lambda: "\n\n".join(islice(four, 4)), "")
    parts = zip_longest(_own(subject, device), joined, _technical(subject, device))
    return [one for one in chain.from_iterable(parts) if one]


def _written(subject: Subject, device: torch.device) -> list[str]:
    """What the dense model writes from nothing, sampled at temperature 1."""
    tokenizer = AutoTokenizer.from_pretrained(subject.folder, local_files_only=True)
    model = dense.load(subject.folder, device)
    begin = tokenizer.bos_token_id
    torch.manual_seed(SEED)
    texts: list[str] = []
    while len(texts) < DOCUMENTS:
        first = torch.full((ROWS, 1), begin, device=device)
        ids = model.generate(
            first,
            attention_mask=torch.ones_like(first),
            do_sample=True,
            top_k=0,
            min_new_tokens=WINDOW,
            max_new_tokens=WINDOW,
            pad_token_id=begin,
        )
        texts += tokenizer.batch_decode(ids, skip_special_tokens=True)
    return texts


def _documents(file: Path) -> list[str]:
    return list(islice(local.read(file, file.name, None), DOCUMENTS))


TEXTS: Mapping[str, Callable[[Subject, torch.device], list[str]]] = {
    "instructions": _instructions,
    "technical": _technical,
    "mixed": _mixed,
    "written": _written,
}
