"""Which columns a task's prompt asks for: what the harness says of a missing one is obscure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PARTS = ("doc_to_text", "doc_to_target", "doc_to_choice")


def wanted(stock: Mapping[str, Any]) -> frozenset[str]:
    """Names of the columns that a task's templates read.

    Args:
        stock: the task's own configuration. Functions in it tell nothing of what they read.
    """
    from jinja2 import Environment, meta

    environment = Environment()  # parses; nothing is rendered
    found: set[str] = set()
    for part in PARTS:
        template = stock.get(part)
        if not isinstance(template, str):
            continue
        if template.isidentifier():  # a column's name alone
            found.add(template)
        else:
            found |= meta.find_undeclared_variables(environment.parse(template))
    return frozenset(found)
