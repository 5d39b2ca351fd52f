"""Refuses jobs at `POST /jobs` whose local or uploaded texts are surely too short.

A token takes at least one byte of text, and a document adds at most `SPECIAL` tokens of its own. So
the size of a file bounds its tokens, whatever the tokenizer; most texts have a quarter of that.
What is not surely too little, the worker counts. Compressed files and Parquet have no such bound,
and the text of a recovery has no least size: a row with an answer is enough to train on.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO

from api.checks.sources import LOCAL, inside
from api.http.validation import FieldError
from jobs.files.calibration_sets import CalibrationSets, named_in
from slimgpt.spec.prune import PruneSpec

SPECIAL = 3
"""Tokens that a tokenizer puts around a text: begin, end, and a space before the first word."""
COMPRESSED = (b"\x1f\x8b", b"PAR1")
COUNTED_BYTES = 8 << 20
"""Largest file whose lines are counted; of a larger one every byte may be a document."""
CHUNK_BYTES = 1 << 20


def too_little_text(spec: PruneSpec, texts_root: Path, sets: CalibrationSets) -> list[FieldError]:
    """Errors for texts that have fewer tokens than the job needs.

    Args:
        texts_root: folder of `local:FILE` texts.
        sets: the uploads.
    """
    uploads = named_in(spec)
    faults = []
    for place, needed in _needed(spec).items():
        source = spec.text_sources[place]
        if place in uploads:
            most = _of_upload(sets, uploads[place])
        elif source.startswith(LOCAL):
            most = _of_file(inside(texts_root, source.removeprefix(LOCAL)), needed)
        else:
            continue
        if most is not None and most < needed:
            message = (
                f"{source} has at most {most:,} tokens, and {_what(spec, place)} need {needed:,}; "
                "use fewer or shorter sequences, or provide more text"
            )
            faults.append(FieldError(pointer=place, message=message))
    return faults


def _needed(spec: PruneSpec) -> dict[str, int]:
    """The fewest tokens with which the engine uses each text, by JSON pointer."""
    wanted = spec.calibration
    found = {"/calibration/source": wanted.samples * wanted.sequence_length}
    longest = max(spec.evaluation.sequence_lengths)
    for place in spec.text_sources:
        if place.startswith("/evaluation/texts/"):
            found[place] = longest
    return found


def _what(spec: PruneSpec, place: str) -> str:
    if place == "/calibration/source":
        wanted = spec.calibration
        return f"{wanted.samples:,} sequences of {wanted.sequence_length:,} tokens"
    return f"windows of {max(spec.evaluation.sequence_lengths):,} tokens"


def _of_upload(sets: CalibrationSets, set_id: str) -> int | None:
    """The most tokens of an upload; None: unknown."""
    found = sets.get(set_id)
    return None if found is None else found.size + SPECIAL * found.documents


def _of_file(path: Path | None, needed: int) -> int | None:
    """The most tokens of a file; None: unknown, or surely enough."""
    try:
        if path is None or (size := path.stat().st_size) >= needed:
            return None
        with path.open("rb") as file:
            if file.peek(max(map(len, COMPRESSED))).startswith(COMPRESSED):
                return None
            documents = size if size > COUNTED_BYTES else _lines(file)
    except OSError:
        return None
    return size + SPECIAL * documents


def _lines(file: IO[bytes]) -> int:
    """Lines of a file, of which `COUNTED_BYTES` at most are read: it may have grown."""
    chunks = (file.read(CHUNK_BYTES) for _ in range(COUNTED_BYTES // CHUNK_BYTES))
    return 1 + sum(chunk.count(b"\n") for chunk in chunks)
