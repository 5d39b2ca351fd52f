"""Converts matplotlib figures to inline SVG with the page's text and colours.

No element has a style of its own: presentation attributes give way to the page's sheet, which so
can repaint a plot for the dark, and a policy that allows that one sheet is enough.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from slimgpt.report.tables.cells import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#2b2f36"
FAINT = "#d5d9e0"
COLOURS = {"dense": "#6b7280", "pruned": "#1d6fd1", "recovered": "#c2570c", "other": "#0f8a6d"}
SETTINGS: Any = {  # matplotlib's type names every key that there is
    "svg.fonttype": "none",
    "svg.hashsalt": "slimgpt",
    "text.parse_math": False,  # names come from strangers: a `$` is a `$`
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}
SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"
SIZE = re.compile(r"([\d.]+)px")
REFERENCE = re.compile(r"#([\w-]+)")


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in the house's style. Glyphs that matplotlib's font lacks are the browser's affair."""
    import matplotlib

    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph ")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


def label(text: str, longest: int = 32) -> str:
    """A name as it may stand in a plot: printable, and not longer than there is room."""
    clean = printable(text)
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"


def inline(figure: Figure, name: str, title: str, description: str) -> str:
    """The figure as an `<svg>` element; call it within `drawing`.

    Args:
        name: of the figure, unique in its page: ids begin with it.
        title: what it shows, for those who cannot see it.
        description: where the same numbers stand as a table.
    """
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    ElementTree.register_namespace("", "http://www.w3.org/2000/svg")
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ElementTree.fromstring(stream.getvalue())
    for unwanted in (f"{SVG}metadata", f"{SVG}title"):
        for element in root.findall(unwanted):
            root.remove(element)
    for styles in root.iter(f"{SVG}defs"):
        for style in styles.findall(f"{SVG}style"):  # round corners and ends: the page's sheet
            styles.remove(style)
    _rename(root, name)
    for element in root.iter():
        _present(element)
    _tell(root, name, title, description)
    return ElementTree.tostring(root, encoding="unicode")


def _present(element: ElementTree.Element) -> None:
    """Turn a style into presentation attributes; fonts are the page's but for their size."""
    for declaration in element.attrib.pop("style", "").split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name == "font":
            found = SIZE.search(value)
            if found:
                element.set("font-size", found[1])
        elif name:
            element.set(name, value)


def _rename(root: ElementTree.Element, name: str) -> None:
    """Keep the ids that something refers to, under names of this figure's own."""
    used = set()
    for element in root.iter():
        for value in element.attrib.values():
            if "#" in value:
                used.update(REFERENCE.findall(value))
    for element in root.iter():
        own = element.attrib.pop("id", None)
        if own in used:
            element.set("id", f"{name}-{own}")
        for key, value in element.attrib.items():
            if key == HREF or "url(#" in value:
                element.set(key, REFERENCE.sub(rf"#{name}-\1", value, count=1))


def _tell(root: ElementTree.Element, name: str, title: str, description: str) -> None:
    for attribute in ("width", "height"):
        root.attrib.pop(attribute, None)
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title {name}-desc")
    for tag, text in (("desc", description), ("title", title)):
        element = ElementTree.Element(f"{SVG}{tag}", {"id": f"{name}-{tag}"})
        element.text = text
        root.insert(0, element)
