"""The page of the service's settings, from `jobs.settings.Settings`."""

from __future__ import annotations

from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from jobs.settings import PREFIX, Settings
from manual.markdown import code, table

HEAD = """# Settings

Every process of the service reads the same variables. An empty value means unset; lists are JSON.
`slimgpt config check` says what is wrong with them, [the service](../service.md) what they are for.

"""


def page() -> str:
    """The page, in Markdown."""
    rows = [
        (code(PREFIX + name.upper()), _kind(field.annotation), _default(field), _said(field))
        for name, field in Settings.model_fields.items()
    ]
    return HEAD + table(("variable", "type", "default", "meaning"), rows)


def _said(field: FieldInfo) -> str:
    return field.description or ""


def _kind(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return ", ".join(_kind(part) for part in inner if part is not type(None))
    if origin is Literal:
        return " or ".join(code(str(value)) for value in inner)
    if origin is tuple:
        return "list"
    if isinstance(annotation, type):
        names = {"str": "text", "int": "number", "float": "number", "bool": "true or false"}
        names |= {"Path": "folder", "SecretStr": "secret"}
        return names.get(annotation.__name__, annotation.__name__)
    return _kind(inner[0]) if inner else "text"


def _default(field: FieldInfo) -> str:
    """Said only where it is a value, and the same on every machine."""
    value = field.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is PydanticUndefined:
        return code("~/.slimgpt")
    if value in (None, "") or str(value) == ".":
        return "unset"
    if isinstance(value, bool):
        return code(str(value).lower())
    if isinstance(value, tuple):
        plain = all(isinstance(part, int | float) for part in value)
        return code("[" + ", ".join(map(str, value)) + "]") if plain else "the engine"
    return code(str(value))
