"""Tables of JSON schemas, for the pages of the API and of the report."""

from __future__ import annotations

import json
from typing import Any

from manual.markdown import code, fenced, table

Schema = dict[str, Any]
BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "pattern `{}`",
}


def sections(schemas: dict[str, Schema], level: int = 3) -> str:
    """Every schema under a heading of its own, by name."""
    return "\n".join(
        f"{'#' * level} {name} {{ #{anchor(name)} }}\n\n{section(schemas[name])}"
        for name in sorted(schemas)
    )


def section(schema: Schema) -> str:
    """One schema: what it is, and a table of its fields."""
    text = f"{schema.get('description', '')}\n\n{fields(schema)}"
    for example in schema.get("examples", ())[:1]:
        text += f"\n{fenced(json.dumps(example, indent=2, ensure_ascii=False), 'json')}"
    return text


def fields(schema: Schema) -> str:
    """The table of an object's fields; of anything else, its type."""
    properties = schema.get("properties")
    if not properties:
        return kind(schema) + "\n" if set(schema) - {"title", "description"} else ""
    required = set(schema.get("required", ()))
    rows = [
        (code(name), kind(found), _default(found, name in required), _meaning(found))
        for name, found in properties.items()
    ]
    return table(("field", "type", "default", "meaning"), rows)


def kind(schema: Schema) -> str:
    """A type in words; schemas that are named elsewhere on the page are linked."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{anchor(name)})"
    several = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if several:
        return " or ".join(dict.fromkeys(kind(part) for part in several))
    values = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    if values:
        return ", ".join(code(str(value)) for value in values)
    return _plain(schema) + _bounds(schema)


def _plain(schema: Schema) -> str:
    word = str(schema.get("type", "any value"))
    if word == "array":
        return "list of " + kind(schema["items"]) if "items" in schema else "list"
    if isinstance(schema.get("additionalProperties"), dict):
        return "object of " + kind(schema["additionalProperties"])
    return {"string": "text", "boolean": "true or false"}.get(word, word)


def _bounds(schema: Schema) -> str:
    found = [text.format(schema[name]) for name, text in BOUNDS.items() if name in schema]
    return f" ({', '.join(found)})" if found else ""


def _default(schema: Schema, required: bool) -> str:
    if "default" not in schema:
        return "required" if required else ""
    value = schema["default"]
    if value in (None, "", [], {}):
        return ""
    return code(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _meaning(schema: Schema) -> str:
    said = str(schema.get("description", ""))
    examples = [code(str(example)) for example in schema.get("examples", ())]
    return said + (f" Example: {', '.join(examples)}." if examples and len(examples) < 4 else "")


def anchor(name: str) -> str:
    """The anchor of a schema's heading."""
    return "schema-" + name.lower().replace("_", "-")
