"""The model card (`README.md` with front matter) of a checkpoint."""

from __future__ import annotations

import html
import json
import re
from functools import cache
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment

from slimgpt.events import Perplexity
from slimgpt.report import licences
from slimgpt.report.document import Document
from slimgpt.report.html_page import environment
from slimgpt.report.key_facts import facts
from slimgpt.report.tables.cells import Table, printable
from slimgpt.report.tables.tables import tables
from slimgpt.spec.names import HUB_ID, published_name

CARD = "README.md"
EVALUATED = ("perplexity", "tasks")
MARKS = re.compile(r"([\\`*_\[\]|~$]|\A[^\w\s&])", re.ASCII)
LINKS = (("://", ":&#47;/"), ("www.", "www&#46;"), ("@", "&#64;"))
DATASETS = {"wikitext2": "Salesforce/wikitext", "c4": "allenai/c4", "alpaca": "tatsu-lab/alpaca"}
FORMS = {
    "exact": "the same model with a modelling file, as jobs without format `uniform` publish it",
    "uniform": "the same model as a stock class, which needs no code of its own",
    "padded": "the same model padded with zeros to a stock class, for loaders that support nothing "
    "else; it is as large and slow as without pruning",
    "gguf": "one file for llama.cpp, tokenizer included: `llama-cli -m FILE`",
}
"""Description of each format's folder."""
TIMELESS = ("Model", "Revision", "Licence", "Target", "Method", "Recipe", "Schedule", "Calibration")
"""Key facts in a card: only those that are the same for two runs of one job."""


def render(document: Document, folder: Path) -> str:
    """The card: front matter and text.

    Args:
        folder: the checkpoint; its `config.json` says whether it needs remote code.
    """
    made, remote = tables(document), _remote(folder)
    text = _environment().get_template("card.md.j2").render(
        document=document,
        name=_name(document),
        remote=remote,
        main="exact" if remote else "uniform",
        forms=FORMS,
        kept=made.get("layers"),
        evaluated=[made[name] for name in EVALUATED if name in made],
        facts=[(name, value) for name, value in facts(document) if name in TIMELESS],
    )  # fmt: skip
    return f"---\n{metadata(document).to_yaml()}\n---\n\n{text.strip()}\n"


def metadata(document: Document) -> ModelCardData:
    """The front matter. Its `model-index` has the scores of the published model."""
    base, licence = document.model.model, licences.front_matter(document.model.licence)
    return ModelCardData(
        base_model=base.partition("@")[0] if HUB_ID.fullmatch(base) else None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["pruned", "structured-pruning", "slimgpt"],
        model_name=_name(document),
        eval_results=_perplexities(document) + _scores(document) or None,
        license=licence.get("license"),
        license_name=licence.get("license_name"),
    )


def _name(document: Document) -> str:
    return published_name(document.model.model, document.model.ratio_achieved)


def _perplexities(document: Document) -> list[EvalResult]:
    name = document.published
    found = [(one, getattr(one, name)) for one in document.perplexity]
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=_dataset(one.text),
            dataset_name=one.text,
            dataset_config=_windows(one),
            metric_type="perplexity",
            metric_name=f"Perplexity, {_windows(one)}",
            metric_value=value,
        )
        for one, value in found
        if value is not None
    ]


def _windows(one: Perplexity) -> str:
    begin = f" from {one.begins_with}" if one.begins_with else ""
    return f"{one.sequence_length}-token windows{begin}"


def _scores(document: Document) -> list[EvalResult]:
    name = document.published
    found = [(one, getattr(one, name)) for one in document.tasks]
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=one.task,
            dataset_name=one.task,
            dataset_config=None if one.shots is None else f"{one.shots}-shot",
            metric_type=one.metric.partition(",")[0] or "accuracy",
            metric_name=one.metric or "accuracy",
            metric_value=value,
        )
        for one, value in found
        if value is not None
    ]


def _dataset(text: str) -> str:
    if text.startswith("hf:"):
        return text[3:]
    return DATASETS.get(text, "custom")


def _remote(folder: Path) -> bool:
    try:
        return "auto_map" in json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return True


def escaped(text: object) -> str:
    """Untrusted text, escaped so that Markdown shows it literally."""
    safe = MARKS.sub(r"\\\1", html.escape(printable(text), quote=False))
    for link, harmless in LINKS:  # some renderers turn these into links
        safe = safe.replace(link, harmless)
    return safe


def grid(table: Table) -> str:
    """A table in Markdown."""
    sides = ["---:" if cell.numeric else "---" for cell in table.rows[0]]
    rows = [[escaped(name) for name in table.header], sides]
    rows += [[escaped(cell.text) for cell in row] for row in table.rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


@cache
def _environment() -> Environment:
    """The template environment; the filter `md` escapes untrusted text for Markdown."""
    made = environment(autoescape=False)
    made.filters |= {"md": escaped, "grid": grid}
    return made
