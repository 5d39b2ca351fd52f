"""The names of text sources, and the documents behind them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from slimgpt.errors import CalibrationError
from slimgpt.origins.roots import PREFIX, Roots
from slimgpt.texts import hub as hub_texts
from slimgpt.texts import local as local_texts
from slimgpt.texts.documents import Documents
from slimgpt.texts.hub import HubText

HUB = "hf:"
# The first training shard is what SparseGPT, Wanda and SlimGPT calibrate on.
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
) -> Documents:
    """The documents of a calibration source, each read when it is asked for.

    Args:
        source: `c4`, `alpaca`, `gpt4-alpaca`, `wikitext2`, `hf:OWNER/NAME` or `local:FILE`.
        config: configuration of a hub data set; None is its default.
        split: split of a hub data set.
        text_field: field of the rows that holds the text; None finds it.
        roots: where `local:` files lie.

    Raises:
        CalibrationError: there is no such source, or it holds no text.
        HubUnreachableError: the hub does not answer.
        StorageError: there is no room to download or unpack it.
    """
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


def evaluation_text(
    source: str,
    roots: Roots,
    *,
    config: str | None = None,
    split: str | None = None,
    text_field: str | None = None,
) -> str:
    """One text to measure perplexity on, put together as public papers do.

    WikiText-2: the test split, its rows joined by two newlines. C4: the first 1,100 documents of
    the first validation shard, joined by spaces. A local plain text: as it is. All else:
    documents joined by two newlines.

    Args:
        source: as in `documents`.
        roots: where `local:` files lie.
        config: configuration of a hub data set; None is its default.
        split: split of a hub data set; None takes `test`, else `validation`, else `train`.
        text_field: field of the rows that holds the text; None finds it.

    Raises:
        CalibrationError, HubUnreachableError, StorageError: as `documents`.
    """
    if source.startswith(PREFIX):
        return local_texts.whole(roots.text(source), source, text_field)
    if source.startswith(HUB):
        splits = (split,) if split else ("test", "validation", "train")
        text = HubText(source.removeprefix(HUB), config, splits)
        return "\n\n".join(hub_texts.read(text, source, text_field))
    rows = hub_texts.read(_named(source, EVALUATION), source, text_field)
    if source == "c4":
        return " ".join(rows[index] for index in range(min(C4_DOCUMENTS, len(rows))))
    return "\n\n".join(rows)


def _named(source: str, known: dict[str, HubText]) -> HubText:
    if source not in known:
        raise CalibrationError(
            f"unknown text source {source!r}",
            hint=f"use {', '.join(known)}, hf:OWNER/NAME or local:FILE",
        )
    return known[source]


def _articles(rows: Documents) -> Iterator[str]:
    """WikiText's rows are lines; an article goes from one ` = Title = ` to the next."""
    article: list[str] = []
    for row in rows:
        if _TITLE.fullmatch(row) and any(line.strip() for line in article):
            yield "".join(article)
            article = []
        article.append(row if row.endswith("\n") else f"{row}\n")
    yield "".join(article)
