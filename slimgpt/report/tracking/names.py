"""Valid MLflow names and values. Limits: mlflow.utils.validation of 3.17, the lowest known.

A metric's name is a path, `perplexity/wikitext2/128/pruned`; its parts come from strangers, who
name texts and tasks as they like.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container

LONGEST_NAME = 250
LONGEST_PARAMETER = 6000
LONGEST_TAG = 5000  # 8000 since MLflow 2.15
CUT = "…"
_REFUSED = re.compile(r"[^\w. -]", re.ASCII)  # a colon too: servers on Windows refuse it
_DIGEST = 10


def path(*parts: object) -> str:
    """A name of parts, none of which can split, leave or empty the path; one too long is cut."""
    name = "/".join(_part(str(part)) for part in parts)
    return name if len(name) <= LONGEST_NAME else _with_digest(name, name)


def unique(name: str, taken: Container[str], of: object) -> str:
    """The name, or another if it is taken: two texts may differ in what MLflow refuses alone.

    Args:
        of: what it names, from which the difference is made.
    """
    return _with_digest(name, str(of)) if name in taken else name


def cut(value: str, longest: int) -> str:
    """The value, or as much of it as fits, with a sign that there was more."""
    return value if len(value) <= longest else value[: longest - len(CUT)] + CUT


def _part(text: str) -> str:
    clean = _REFUSED.sub("_", text).strip()
    return clean if clean.strip(".") else "_" * max(1, len(clean))


def _with_digest(name: str, of: str) -> str:
    digest = hashlib.sha256(of.encode(errors="backslashreplace")).hexdigest()[:_DIGEST]
    return f"{name[: LONGEST_NAME - _DIGEST - 1].rstrip('/. ')}-{digest}"
