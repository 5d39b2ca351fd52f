"""Equations: LaTeX in pages becomes MathML, which browsers draw without scripts or fonts."""

from __future__ import annotations

import re

from latex2mathml.converter import convert

BLOCK = re.compile(r"^```math\n(.+?)\n```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"\$`([^`\n]+)`\$")


def drawn(text: str) -> str:
    """The page with its equations: blocks fenced as `math`, and $`…`$ in running text."""
    text = BLOCK.sub(
        lambda found: f'<div class="equation">{_mathml(found[1], "block")}</div>', text
    )
    return INLINE.sub(lambda found: _mathml(found[1], "inline"), text)


def _mathml(latex: str, display: str) -> str:
    return str(convert(" ".join(latex.split()), display=display))
