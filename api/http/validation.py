"""Field errors of a request, with JSON pointers (RFC 6901)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

Location = Literal["body", "query", "path", "header", "cookie"]
MAX_ERRORS = 20
"""Further errors are not reported."""
MAX_NAME = 128
"""Longest name in a pointer: an unknown field may have any length."""
_PLAINER = {
    "extra_forbidden": "unknown field",
    "missing": "this field is required",
    "model_attributes_type": "a JSON object is expected",
}


class FieldError(BaseModel):
    """One error in the request."""

    location: Location = Field("body", description="Part of the request that is invalid.")
    pointer: str = Field(
        description="JSON pointer (RFC 6901) into the body, or `/name` of a parameter.",
        examples=["/schedule/shape"],
    )
    message: str = Field(examples=["Input should be less than 1"])


def pointer(parts: Iterable[str | int]) -> str:
    """A JSON pointer from its unescaped parts."""
    shown = (str(part) for part in parts)
    cut = (name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}…" for name in shown)
    return "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in cut)


def _parts_in(body: Any, location: Sequence[str | int], missing: bool) -> list[str | int]:
    """The parts that exist in the body, without pydantic's names of union branches."""
    parts: list[str | int] = []
    node = body
    for part in location:
        in_list = isinstance(node, list) and isinstance(part, int) and part < len(node)
        if in_list or (isinstance(node, dict) and part in node):
            node = node[part]
        elif not (missing and part == location[-1]):
            continue
        parts.append(part)
    return parts


def field_errors(errors: Sequence[Mapping[str, Any]], body: Any) -> list[FieldError]:
    """Pydantic's errors, one per field, at most `MAX_ERRORS`, without the input values."""
    found: dict[tuple[str, str], list[str]] = {}
    around = {error["loc"][:n] for error in errors for n in range(1, len(error["loc"]))}
    for error in errors:
        source, *location = error["loc"]
        if error["type"] == "too_short" and error["loc"] in around:
            continue  # validation of the list stopped at an invalid item
        missing = error["type"] == "missing"
        parts = _parts_in(body, location, missing) if source == "body" else location
        message = _PLAINER.get(error["type"], str(error["msg"]).removeprefix("Value error, "))
        place = str(source), pointer(parts)
        if place not in found and len(found) == MAX_ERRORS:
            break
        messages = found.setdefault(place, [])
        if message not in messages:
            messages.append(message)
    return [
        FieldError.model_validate(
            {"location": source, "pointer": place, "message": "; or ".join(messages)}
        )
        for (source, place), messages in found.items()
    ]


def summary(errors: Sequence[FieldError]) -> str:
    """The first errors in one sentence, for `detail`."""
    said = [f"{error.pointer.lstrip('/') or error.location}: {error.message}" for error in errors]
    more = f"; and {len(said) - 3} more" if len(said) > 3 else ""
    return "; ".join(said[:3]) + more
