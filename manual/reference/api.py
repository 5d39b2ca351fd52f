"""The page of the HTTP API, from its OpenAPI document."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from api.app import create_app
from api.http.problem_kinds import KINDS
from jobs.settings import Settings
from manual.markdown import cell, code, fenced, table
from manual.reference import schemas

EVERYWHERE = ("403", "431", "500")
HEAD = """# The API

Version {version}. Generated from the OpenAPI document, which a running service has at
`/openapi.json`, and shows at `/docs` with a button to try each request. Where keys are required,
every request needs `Authorization: Bearer KEY`, except those marked *open*. Every error is a
problem document ([all kinds](errors.md)); besides those listed, any request can get 403, 431 and
500.

"""


def document() -> dict[str, Any]:
    """The OpenAPI document of a service that asks for keys, as most do."""
    settings = Settings(home=Path("home"), auth="keys", key_pepper="-" * 32)
    return create_app(settings).openapi()


def page() -> str:
    """The page, in Markdown."""
    described = document()
    by_tag: dict[str, list[str]] = {}
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            shown = _operation(f"{method.upper()} {path}", operation)
            by_tag.setdefault(operation["tags"][0], []).append(shown)
    text = HEAD.format(version=described["info"]["version"])
    for tag, sections in by_tag.items():
        text += f"## {tag.capitalize()}\n\n" + "\n".join(sections) + "\n"
    return text + "## Schemas\n\n" + schemas.sections(described["components"]["schemas"])


def _operation(name: str, operation: dict[str, Any]) -> str:
    anchor = re.sub(r"[^a-z_]+", "-", name.lower()).strip("-")
    opened = " *Open.*" if operation.get("security") == [] else ""
    text = f"### `{name}` {{ #{anchor} }}\n\n{operation.get('description', '')}{opened}\n\n"
    rows = [
        (
            code(found["name"]),
            found["in"],
            schemas.kind(found["schema"]) + (", required" if found.get("required") else ""),
            found.get("description", ""),
        )
        for found in operation.get("parameters", ())
    ]
    text += table(("parameter", "in", "type", "meaning"), rows) + "\n"
    if "requestBody" in operation:
        text += _body(operation["requestBody"]["content"]) + "\n\n"
    return text + _answers(operation["responses"])


def _body(content: dict[str, Any]) -> str:
    kinds = [f"{code(media)}: {_shape(found)}" for media, found in content.items()]
    text = "Body: " + "; ".join(kinds) + "\n"
    for found in content.values():
        for example in list(found.get("examples", {}).values())[:1]:
            text += "\n" + fenced(json.dumps(example.get("value"), indent=2), "json")
    return text


def _shape(found: dict[str, Any]) -> str:
    return schemas.kind(found["schema"]) if found.get("schema") else "bytes"


def _answers(responses: dict[str, Any]) -> str:
    rows = []
    for status, found in sorted(responses.items()):
        if status >= "400":
            if status not in EVERYWHERE:
                rows.append((status, _problems(found["description"])))
            continue
        kinds = [f"{_shape(body)}" for body in found.get("content", {}).values()]
        rows.append((status, ", ".join(kinds) or cell(found["description"])))
    return table(("status", "answer"), rows)


def _problems(description: str) -> str:
    """Kinds of problems that a description names, linked to what they mean."""
    names = [name for name in KINDS if f"(`{name}`)" in description]
    return ", ".join(f"[`{name}`](errors.md#{name})" for name in names) or description
