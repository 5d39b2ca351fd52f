"""`report.html`: the report as one self-contained HTML file."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from slimgpt.report.document import Document
from slimgpt.report.key_facts import facts, target
from slimgpt.report.plots.plots import plots
from slimgpt.report.tables.cells import Cell, number
from slimgpt.report.tables.tables import shown, tables


@dataclass(frozen=True)
class Tile:
    """A headline number of the page."""

    name: str
    cell: Cell
    more: str = ""


def render(document: Document) -> str:
    """The HTML page. Untrusted text, such as names and warnings, is escaped."""
    return fill(
        "report.html.j2",
        document=document,
        tiles=_tiles(document),
        tables=tables(document),
        plots=plots(document),
        facts=facts(document),
        spec=json.dumps(_body(document), indent=2, ensure_ascii=False),
    )


def fill(template: str, **content: Any) -> str:
    """A page from its template, with the style sheet and a policy that allows nothing else."""
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    page = environment().get_template(template)
    return page.render(style=style, hash=f"sha256-{digest}", **content) + "\n"


def _body(document: Document) -> dict[str, Any]:
    """The specification that repeats it; in reports of before, the one that was given."""
    return document.repeat.body if document.repeat and document.repeat.body else document.spec


@cache
def environment(*, autoescape: bool = True) -> Environment:
    """The template environment of pages and cards."""
    return Environment(
        loader=PackageLoader("slimgpt.report"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _style() -> str:
    sheet = resources.files("slimgpt.report").joinpath("templates/style.css")
    return sheet.read_text(encoding="utf-8")


def _tiles(document: Document) -> list[Tile]:
    model = document.model
    after = number(model.parameters_after, "/model/parameters_after", "count")
    before = number(model.parameters_before, "", "count").text
    removed = number(model.ratio_achieved, "/model/ratio_achieved", "percent")
    tiles = [
        Tile("Parameters removed", removed, f"requested: {target(document) or 'nothing'}"),
        Tile("Parameters left", after, f"of {before}"),
        Tile(
            "Weights on disk",
            number(model.bytes_after, "/model/bytes_after", "size"),
            f"of {number(model.bytes_before, '', 'size').text}",
        ),
    ]
    if document.perplexity:
        one, name = document.perplexity[0], shown(document)[-1]
        cell = number(getattr(one, name), f"/perplexity/0/{name}")
        tiles.append(Tile(f"Perplexity, {name}", cell, f"dense {number(one.dense, '').text}"))
    return tiles
