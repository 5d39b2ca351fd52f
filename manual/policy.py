"""The site's Content-Security-Policy: its own scripts and styles, by address or by hash."""

from __future__ import annotations

import ast
import base64
import hashlib
import re
from collections.abc import Iterable

SCRIPT = re.compile(r"<script(?![^>]*(?:\bsrc=|application/json))[^>]*>(.+?)</script>", re.DOTALL)
STYLE = re.compile(r"<style[^>]*>(.+?)</style>", re.DOTALL)
STYLE_IN_SCRIPT = re.compile(r"'[.#*:\[a-z](?:[^'\\\n]|\\.){200,}'")
"""A style sheet that a script carries as text: the search dialog's."""


def of(pages: Iterable[str], scripts: Iterable[str]) -> str:
    """The policy under which a site works, and nothing else does.

    Args:
        pages: the HTML of all pages, and pictures (SVG) with a style of their own.
        scripts: the text of all script files.
    """
    inline, styles = set[str](), set[str]()
    for page in pages:
        inline |= set(map(_hash, SCRIPT.findall(page)))
        styles |= set(map(_hash, STYLE.findall(page)))
    for script in scripts:
        styles |= {_hash(sheet) for sheet in _sheets(script)}
    return "; ".join(
        (
            "default-src 'none'",
            " ".join(("script-src 'self'", *sorted(inline))),
            " ".join(("style-src 'self'", *sorted(styles))),
            "img-src 'self' data:",
            "connect-src 'self'",
            "worker-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _sheets(script: str) -> Iterable[str]:
    for found in STYLE_IN_SCRIPT.findall(script):
        if re.fullmatch(r"'[^{}()=]*\{.*\}'", found, re.DOTALL):
            yield ast.literal_eval(found)


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
