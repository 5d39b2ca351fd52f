"""The page says the report's numbers, loads nothing, and shows strangers' words as words."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from slimgpt.report import document, folder, html_page
from slimgpt.report.comparison.page import page
from slimgpt.report.comparison.rows import Entry, rows
from tests.slimgpt.report.sample import HOSTILE, report, write

UNITS = {"T": 1e12, "B": 1e9, "M": 1e6, "K": 1e3}
UNITS |= {"TiB": 2.0**40, "GiB": 2.0**30, "MiB": 2.0**20, "KiB": 2.0**10, "s": 1.0, "%": 0.01}
SHOWN = re.compile(r"([−-]?[\d.,]+(?:e[+-]\d+)?) ?([A-Za-z%]*)")


class Reading(HTMLParser):
    """What a browser would see of a page.

    Attributes:
        numbers: (pointer, value, text) of every element that names its place in the report.
        bare: texts of number cells that name no place and are not marked as derived.
        attributes: of all elements, as (tag, name, value).
        tags: of all elements.
        words: all text.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.numbers: list[tuple[str, Any, str]] = []
        self.bare: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.tags: set[str] = set()
        self.words = ""
        self._open: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._open = {name: value or "" for name, value in attrs}

    def handle_data(self, data: str) -> None:
        self.words += data
        told, self._open = self._open, {}
        if "data-at" in told:
            self.numbers.append((told["data-at"], json.loads(told["data-value"]), data))
        elif told.get("class") == "n" and "data-derived" not in told and "scope" not in told:
            self.bare.append(data)


def at(content: Any, pointer: str) -> Any:
    """What a JSON pointer leads to (RFC 6901)."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        content = content[int(key)] if isinstance(content, list) else content[key]
    return content


def assert_numbers_are_of(content: Any, seen: Reading) -> None:
    for pointer, value, text in seen.numbers:
        assert value == at(content, pointer), pointer
        found = SHOWN.fullmatch(text)
        assert found, (pointer, text)
        read = float(found[1].replace(",", "")) * UNITS.get(found[2], 1.0)
        digits = found[1].replace(",", "").partition("e")[0].partition(".")[2]
        coarse = UNITS.get(found[2], 1.0) * 0.51 * 10.0 ** -len(digits)
        assert read == pytest.approx(value, rel=5.1e-3, abs=coarse), (pointer, text)
    assert set(seen.bare) <= {"–"}


@pytest.mark.parametrize("layers", [1, 32, 80])
def test_every_number_of_the_page_is_the_reports(layers: int, tmp_path: Path) -> None:
    content = report(layers)
    told = write(tmp_path, content)
    folder.write(told)
    html = (told / folder.PAGE).read_text(encoding="utf-8")
    seen = Reading(html)
    assert_numbers_are_of(content, seen)
    pointers = {pointer for pointer, _, _ in seen.numbers}
    for place in ("perplexity", "tasks", "inference", "layers", "drift"):
        assert {f"/{place}/{index}" for index in range(len(content[place]))} == {
            "/".join(pointer.split("/")[:3]) for pointer in pointers if f"/{place}/" in pointer
        }
    assert {"/model/ratio_achieved", "/peak_memory_bytes", "/seconds/prune"} <= pointers
    assert len(html.encode()) < 500_000


def test_what_was_not_measured_has_no_section() -> None:
    content = report(2)
    for name in ("tasks", "inference", "perplexity", "drift"):
        content[name] = []
    content["recovery"] = None
    seen = Reading(html_page.render(document.of(content, "report")))
    assert_numbers_are_of(content, seen)
    ids = {value for _, name, value in seen.attributes if name == "id"}
    assert not ids & {"tasks", "inference", "perplexity", "drift", "recovery", "losses"}
    assert {"layers", "size", "cost", "proof"} <= ids


def test_strangers_words_are_words_everywhere() -> None:
    html = html_page.render(document.of(report(2, HOSTILE), "report"))
    seen = Reading(html)
    assert "script" not in seen.tags
    assert '<script>alert("1")</script>' in seen.words
    assert not [name for _, name, _ in seen.attributes if name.startswith("on")]


def test_the_page_loads_nothing_and_allows_only_its_own_sheet() -> None:
    html = html_page.render(document.of(report(3, HOSTILE), "report"))
    seen = Reading(html)
    assert not seen.tags & {"link", "img", "iframe", "object", "embed", "form", "script", "base"}
    links = [value for _, name, value in seen.attributes if name in ("href", "src", "xlink:href")]
    assert all(value.startswith("#") for value in links)
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    assert not [value for _, name, value in seen.attributes if name == "style"]
    (sheet,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    (policy,) = [value for tag, name, value in seen.attributes
                 if tag == "meta" and "default-src" in value]  # fmt: skip
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_plots_are_told_to_those_who_cannot_see_them_and_their_ids_do_not_collide() -> None:
    html = html_page.render(document.of(report(4), "report"))
    plots = re.findall(r"<svg .*?</svg>", html, re.DOTALL)
    assert len(plots) == 9
    ids: list[str] = []
    for plot in plots:
        root = ElementTree.fromstring(plot)
        assert root.get("role") == "img"
        own = {element.get("id") for element in root.iter()} - {None}
        assert set(str(root.get("aria-labelledby")).split()) <= own
        assert "".join(element.text or "" for element in root.findall(".//{*}text"))  # text is text
        references = re.findall(r'(?:url\(|href=")#([\w-]+)', plot)
        assert set(references) <= own
        ids += [str(one) for one in own]
    assert len(ids) == len(set(ids))


def test_a_report_makes_the_same_page_twice() -> None:
    told = document.of(report(2), "report")
    assert html_page.render(told) == html_page.render(told)


def test_a_comparison_says_the_rows_numbers_in_the_order_of_their_ratios() -> None:
    entries = [
        Entry(f"{HOSTILE}{ratio}", document.of(report(2, HOSTILE, ratio), "report"))
        for ratio in (0.5, 0.2, 0.33)
    ]
    found = rows(entries)
    assert [round(row["ratio"], 2) for row in found] == [0.2, 0.33, 0.5]
    seen = Reading(page(found))
    assert_numbers_are_of(found, seen)
    assert "script" not in seen.tags
    assert found[0]["tasks"]["dense"] == pytest.approx(sum(0.75 - i / 23 for i in range(8)) / 8)
    perplexities = [row["perplexity"][0] for row in found]
    assert [one["pruned"] for one in perplexities] == sorted(one["pruned"] for one in perplexities)
