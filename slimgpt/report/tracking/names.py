"""Valid MLflow names and values. Limits: mlflow.utils.validation of 3.17, the lowest known.

A metric's name is a path, `perplexity/wikitext2/128/pruned`; names of texts and tasks in it are
untrusted.
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
    """A path of sanitised parts; a name that is too long is shortened, with a digest."""
    name = "/".join(_part(str(part)) for part in parts)
    return name if len(name) <= LONGEST_NAME else _with_digest(name, name)


def unique(name: str, taken: Container[str], of: object) -> str:
    """The name, with a digest if it is taken: sanitised names of different texts can collide.

    Args:
        of: the unsanitised name, from which the digest is made.
    """
    return _with_digest(name, str(of)) if name in taken else name


def cut(value: str, longest: int) -> str:
    """The value, shortened with an ellipsis if it is too long."""
    return value if len(value) <= longest else value[: longest - len(CUT)] + CUT


def _part(text: str) -> str:
    clean = _REFUSED.sub("_", text).strip()
    return clean if clean.strip(".") else "_" * max(1, len(clean))


def _with_digest(name: str, of: str) -> str:
    digest = hashlib.sha256(of.encode(errors="backslashreplace")).hexdigest()[:_DIGEST]
    return f"{name[: LONGEST_NAME - _DIGEST - 1].rstrip('/. ')}-{digest}"
