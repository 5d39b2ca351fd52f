"""Converts matplotlib figures to inline SVG with the page's text and colours.

Elements have presentation attributes instead of inline styles, so that the page's style sheet can
change colours in dark mode and the Content-Security-Policy needs to allow only that sheet.
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
SERIES = (
    "#1d6fd1", "#c2570c", "#0f8a6d", "#8a3fb0", "#b8860b", "#c2255c", "#3b7a8c", "#5c6f1d"
)  # fmt: skip
"""Colours that tell lines apart, in their order."""
SETTINGS: Any = {  # matplotlib's type requires literal keys
    "svg.fonttype": "none",
    "svg.hashsalt": "slimgpt",
    "text.parse_math": False,  # untrusted names may contain `$`
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
    """Apply the plot style. Warnings of missing glyphs are ignored; the browser has other fonts."""
    import matplotlib

    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph ")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


def label(text: str, longest: int = 32) -> str:
    """A name for a plot: printable, and shortened to `longest` characters."""
    clean = printable(text)
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"


def inline(figure: Figure, name: str, title: str, description: str) -> str:
    """The figure as an `<svg>` element; call it within `drawing`.

    Args:
        name: unique in the page; prefix of all ids.
        title: what the figure shows, for screen readers.
        description: where the numbers are as a table, for screen readers.
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
        for style in styles.findall(f"{SVG}style"):  # line joins and caps: in the page's sheet
            styles.remove(style)
    _rename(root, name)
    for element in root.iter():
        _present(element)
    _label_figure(root, name, title, description)
    return ElementTree.tostring(root, encoding="unicode")


def _present(element: ElementTree.Element) -> None:
    """Turn a style into presentation attributes; of fonts only the size is kept."""
    for declaration in element.attrib.pop("style", "").split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name == "font":
            found = SIZE.search(value)
            if found:
                element.set("font-size", found[1])
        elif name:
            element.set(name, value)


def _rename(root: ElementTree.Element, name: str) -> None:
    """Keep the ids that are referred to, prefixed with the figure's name."""
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


def _label_figure(root: ElementTree.Element, name: str, title: str, description: str) -> None:
    for attribute in ("width", "height"):
        root.attrib.pop(attribute, None)
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title {name}-desc")
    for tag, text in (("desc", description), ("title", title)):
        element = ElementTree.Element(f"{SVG}{tag}", {"id": f"{name}-{tag}"})
        element.text = text
        root.insert(0, element)
