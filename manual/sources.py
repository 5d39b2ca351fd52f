"""Pages of source files: what a page links to in the repository can be read in the manual, too."""

from __future__ import annotations

import ast
from pathlib import Path

from manual.markdown import fenced

LANGUAGES = {
    ".py": "python",
    ".yml": "yaml",
    ".yaml": "yaml",
    ".toml": "toml",
    ".json": "json",
    ".md": "markdown",
    ".svg": "xml",
}


def page(root: Path, file: str) -> str:
    """A file of the repository as a page; functions and classes of Python under their names."""
    text = (root / file).read_text(encoding="utf-8")
    head = f"---\ntitle: {file}\nsearch:\n  exclude: true\n---\n\n# `{file}`\n\n"
    suffix = Path(file).suffix
    if suffix != ".py":
        return head + fenced(text, LANGUAGES.get(suffix, "text"))
    return head + "\n".join(_parts(text))


def _parts(text: str) -> list[str]:
    lines = text.splitlines()
    parts, start, name = [], 0, ""
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)]) - 1
            parts.append(_part(name, lines[start:first]))
            start, name = first, node.name
    return [*parts, _part(name, lines[start:])]


def _part(name: str, lines: list[str]) -> str:
    heading = f"## `{name}` {{ #{name} }}\n\n" if name else ""
    text = "\n".join(lines).strip("\n")
    return heading + (fenced(text, "python") if text else "")
