"""Text sources by name (`c4`, `alpaca`, `hf:`, `local:`, `upload:`), and their documents."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from slimgpt.errors import CalibrationError
from slimgpt.sources.roots import PREFIX, UPLOAD_PREFIX, Roots
from slimgpt.texts import hub as hub_texts
from slimgpt.texts import local as local_texts
from slimgpt.texts.documents import Documents
from slimgpt.texts.hub import HubText
from slimgpt.texts.row_types import Lesson
from slimgpt.texts.rows import lesson_of

HUB = "hf:"
# SparseGPT, Wanda and SlimGPT calibrate on the first training shard.
CALIBRATION = {
    "c4": HubText("allenai/c4", "en", files=("en/c4-train.00000-of-01024.json.gz",)),
    "alpaca": HubText("tatsu-lab/alpaca"),
    "gpt4-alpaca": HubText("vicgalle/alpaca-gpt4"),
    "wikitext2": HubText("Salesforce/wikitext", "wikitext-2-raw-v1"),
}
EVALUATION = {
    **CALIBRATION,
    "c4": HubText(
        "allenai/c4", "en", ("validation",), files=("en/c4-validation.00000-of-00008.json.gz",)
    ),
    "wikitext2": replace(CALIBRATION["wikitext2"], splits=("test",)),
}
C4_DOCUMENTS = 1100
_TITLE = re.compile(r" = [^=]+ = \n?")


def documents(
    source: str,
    *,
    config: str | None = None,
    split: str = "train",
    text_field: str | None = None,
    roots: Roots,
) -> Documents[str]:
    """The documents of a calibration source, read on access.

    Args:
        source: `c4`, `alpaca`, `gpt4-alpaca`, `wikitext2`, `hf:OWNER/NAME`, `local:FILE` or
            `upload:ID`.
        config: configuration of a hub data set; None is its default.
        split: split of a hub data set.
        text_field: field of the rows that contains the text; None detects it.
        roots: folders of `local:` and `upload:` files.

    Raises:
        CalibrationError: there is no such source, or it contains no text.
        HubUnreachableError: the hub does not answer.
        StorageError: the disk has too little space for it.
    """
    if source.startswith(UPLOAD_PREFIX):
        path = roots.upload(source)
        rows = local_texts.read(path, source, text_field)
        # The report outlives the upload, so it needs more than the upload's id.
        return Documents(len(rows), rows.__getitem__, f"{rows.description}, sha256 {_digest(path)}")
    if source.startswith(PREFIX):
        return local_texts.read(roots.text(source), source, text_field)
    if source.startswith(HUB):
        text = HubText(source.removeprefix(HUB), config, (split,))
        return hub_texts.read(text, source, text_field)
    rows = hub_texts.read(_named(source, CALIBRATION), source, text_field)
    if source != "wikitext2":
        return rows
    articles = list(_articles(rows))
    return Documents.of(articles, f"{rows.description} in {len(articles):,} articles")


def training_rows(
    source: str, *, config: str | None, split: str, text_field: str | None, roots: Roots
) -> Documents[Lesson]:
    """The rows of a source for a recovery, including those with empty answers.

    Args:
        source, config, split, text_field, roots: as in `documents`.

    Raises:
        CalibrationError: there is no such source, or a row is invalid; the message names the row.
        HubUnreachableError, StorageError: as `documents`.
    """

    def parse(row: object, asked: str | None) -> tuple[Lesson]:
        return (lesson_of(row, asked),)  # a tuple is never false, so that no row is omitted

    if source.startswith((PREFIX, UPLOAD_PREFIX)):
        uploaded = source.startswith(UPLOAD_PREFIX)
        path = roots.upload(source) if uploaded else roots.text(source)
        rows = local_texts.parsed(path, source, text_field, parse)
    else:
        hub = source.startswith(HUB)
        text = (
            HubText(source.removeprefix(HUB), config, (split,))
            if hub
            else _named(source, CALIBRATION)
        )
        rows = hub_texts.parsed(text, source, text_field, parse)
    return Documents(len(rows), lambda index: rows[index][0], rows.description)


def evaluation_text(source: str, roots: Roots) -> str:
    """One text for perplexity, assembled as in public papers.

    WikiText-2: the rows of the test split, joined by two newlines. C4: the first 1,100 documents of
    the first validation shard, joined by spaces. A local plain text: unchanged. Others: documents
    joined by two newlines, of a hub data set those of split `test`, else `validation` or `train`.

    Args:
        source: as in `documents`.
        roots: folders of `local:` and `upload:` files.

    Raises:
        CalibrationError, HubUnreachableError, StorageError: as `documents`.
    """
    if source.startswith(UPLOAD_PREFIX):
        return local_texts.whole(roots.upload(source), source)
    if source.startswith(PREFIX):
        return local_texts.whole(roots.text(source), source)
    if source.startswith(HUB):
        text = HubText(source.removeprefix(HUB), splits=("test", "validation", "train"))
        return "\n\n".join(hub_texts.read(text, source, None))
    rows = hub_texts.read(_named(source, EVALUATION), source, None)
    if source == "c4":
        return " ".join(rows[index] for index in range(min(C4_DOCUMENTS, len(rows))))
    return "\n\n".join(rows)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _named(source: str, known: dict[str, HubText]) -> HubText:
    if source not in known:
        raise CalibrationError(
            f"unknown text source {source!r}",
            hint=f"use {', '.join(known)}, hf:OWNER/NAME, local:FILE or upload:ID",
        )
    return known[source]


def _articles(rows: Documents[str]) -> Iterator[str]:
    """Articles of WikiText, whose rows are lines; ` = Title = ` starts an article."""
    article: list[str] = []
    for row in rows:
        if _TITLE.fullmatch(row) and any(line.strip() for line in article):
            yield "".join(article)
            article = []
        article.append(row if row.endswith("\n") else f"{row}\n")
    yield "".join(article)
